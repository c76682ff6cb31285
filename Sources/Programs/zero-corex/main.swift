import CoreX
import Service

// Core-X of one contract on one node: logs and exec for requests signed by the contract's owner.
let options: [Option] = [
    .required("contract", "first 16 hexadecimal digits of the contract's id"),
    .text("listen", "address:port to listen on instead of port 7700 of the contract's link address"),
]
Daemon.main("zero-corex", options: options, folders: .none) { context in
    let server = try CoreXServer(
        state: context.state, run: context.run, contract: context.settings.text("contract"),
        listen: context.settings.optional("listen"), log: context.log)
    Daemon.ready()
    while !Task.isCancelled { try? await Task.sleep(for: .seconds(3600)) }
    server.stop()
}
