public import Objects

extension ZeroStore {
    /// How the store is, as Prometheus text.
    public func metrics() throws(ObjectError) -> String {
        let status = try status()
        var text = "# TYPE zero_stor_repairs gauge\nzero_stor_repairs \(status.repairs)\n"
        text += "# TYPE zero_stor_log_height gauge\nzero_stor_log_height \(status.height)\n"
        text += "# TYPE zero_stor_backend_state gauge\n"
        for backend in status.backends {
            text += "zero_stor_backend_state{backend=\"\(backend.number)\",state=\"\(backend.state)\"} 1\n"
        }
        text += "# TYPE zero_stor_backend_shards gauge\n"
        for backend in status.backends {
            text += "zero_stor_backend_shards{backend=\"\(backend.number)\"} \(backend.shards)\n"
        }
        text += "# TYPE zero_stor_backend_bytes gauge\n"
        for backend in status.backends {
            text += "zero_stor_backend_bytes{backend=\"\(backend.number)\"} \(backend.bytes)\n"
        }
        text += "# TYPE zero_stor_lies_total counter\n"
        for backend in status.backends {
            text += "zero_stor_lies_total{backend=\"\(backend.number)\"} \(backend.lies)\n"
        }
        text += "# TYPE zero_stor_account gauge\n"
        for account in status.accounts { text += "zero_stor_account{name=\"\(account.name)\"} \(account.value)\n" }
        return text
    }
}
