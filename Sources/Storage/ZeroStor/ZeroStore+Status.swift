internal import ObjectIndex
public import Objects

extension ZeroStore {
    /// How a store is.
    public struct Status: Sendable {
        /// A backend as it is seen now.
        public struct BackendStatus: Sendable {
            /// Its number, address, farm and node.
            public let number: UInt16, address: String, farm: String, node: String
            /// `active`, `silent`, `full`, `refuses`, `draining`, `lost` or `removed`.
            public let state: String
            /// Shards on it, and their bytes.
            public let shards: Int64, bytes: Int64
            /// How often it showed what does not match its hash.
            public let lies: Int
        }
        /// All of them, by number.
        public let backends: [BackendStatus]
        /// `whole`, or `degraded` where stripes have less than their redundancy.
        public let state: String
        /// Stripes that wait for repair.
        public let repairs: Int64
        /// The last entry of the log.
        public let height: UInt64
        /// What is in the store, by name.
        public let accounts: [(name: String, value: Int64)]
    }

    /// How the store is now.
    public func status() throws(ObjectError) -> Status {
        try read { (view) throws(ObjectError) in
            try translate { () throws(IndexError) in
                let backends = try view.backends().map { known in
                    let backend = known.backend
                    let state =
                        backend.state == .active
                        ? health.trouble(backend.number).map { "\($0)" } ?? "active" : "\(backend.state)"
                    return Status.BackendStatus(
                        number: backend.number, address: backend.address, farm: backend.farm, node: backend.node,
                        state: state, shards: known.shards, bytes: known.bytes, lies: health.lies(backend.number))
                }
                let repairs = try view.repairCounts().reduce(0) { $0 + $1.stripes }
                return Status(
                    backends: backends, state: repairs == 0 ? "whole" : "degraded", repairs: repairs,
                    height: try view.position().height, accounts: try view.accounts().named)
            }
        }
    }
}
