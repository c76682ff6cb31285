internal import Bus
internal import CanonicalJSON
internal import Service

/// The program `zero-network`: one namespace, bridge, rule set and resolver for each contract on the node.
public enum NetworkDaemon {
    private static let linkRange = Option.text(
        "link-range", "IPv4 range of which each contract's link takes a /30", default: "100.64.0.0/20")

    private static let doorHelper = Option.text(
        "door-helper", "program that opens a listening socket in a network namespace", default: "zero-door")

    /// Runs the daemon; `zero-network purge` removes everything it made.
    public static func main() -> Never {
        let purge = DaemonCommand("purge", "remove every namespace, link and table of this grid") { context in
            try NetworkNode.purge(state: context.state, run: context.run)
        }
        Daemon.main("zero-network", options: [linkRange, doorHelper], commands: [purge]) { context in
            let node = try NetworkNode(
                state: context.state, run: context.run, linkRange: context.settings.text("link-range"),
                doorHelper: context.settings.text("door-helper"), core: context.bus("core"), log: context.log)
            await node.adopt()
            await node.ensureNodeRules()
            serve(context.server, node)
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { await node.watch() }
                group.addTask { await node.watchDoors() }
                group.addTask { try await context.serve() }
                try await group.next()
                group.cancelAll()
            }
        }
    }

    private static func serve(_ server: BusServer, _ node: NetworkNode) {
        server.on("ENSURE", from: [.provision]) { request in BusReply(try await node.ensure(request.body)) }
        server.on("REMOVE", from: [.provision]) { request in
            let contract = try request.read { reader throws(JSONError) in try reader.string("contract") }
            try await node.remove(contract)
            return .ok
        }
        server.on("OPEN", from: [.provision]) { request in
            let asked = try request.read { reader throws(JSONError) in
                (
                    contract: try reader.string("contract"), name: try reader.string("name"),
                    namespace: try reader.string("namespace")
                )
            }
            try await node.open(asked.contract, asked.name, asked.namespace)
            return .ok
        }
        server.on("LIST", from: [.provision]) { _ in BusReply(await node.list()) }
        server.provideStatus { await node.list() }
    }
}
