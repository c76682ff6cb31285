import Gateway
import Service

// Names to backends: keeps HAProxy's routes as provision asks for them.
Daemon.main(
    "gateway",
    options: [
        .text("http-address", "address that the proxy listens at", default: "127.0.0.1"),
        .integer("http-port", "port for HTTP", default: 8080, in: 1...65535),
        .text("domain", "what a name is a label of: <name>.<domain>", default: "localhost"),
        .integer("proxy-uid", "account of the proxy", default: 64109),
    ]
) { context in
    let settings = try ProxySettings(
        folder: "\(context.run)/gateway", address: context.settings.text("http-address"),
        port: context.settings.integer("http-port"), domain: context.settings.text("domain"))
    let keeper = try Keeper(
        folder: context.folder, settings: settings, proxy: UInt32(context.settings.integer("proxy-uid")))
    let service = GatewayService(keeper, control: .unit(of: context.bus("core")), log: context.log)
    service.register(on: context.server, context.metrics)
    await service.settle(.seconds(5))
    try await withThrowingDiscardingTaskGroup { group in
        group.addTask { await service.watch() }
        try await context.serve()
        group.cancelAll()
    }
}
