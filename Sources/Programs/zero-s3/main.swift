import Glibc
import HTTP
import Objects
import S3
import Service
import ZeroStor

// S3 in front of a store of objects.
Daemon.main(
    "s3",
    options: [
        .text("listen", "address to listen at", default: "127.0.0.1"),
        .integer("port", "port to listen at; 0 takes a free one", default: 9000, in: 0...65535),
        .integer("metrics-port", "port of Prometheus metrics", in: 0...65535),
        .text("domain", "buckets are also served as <bucket>.<domain>"),
        .text("region", "the region that is told", default: "us-east-1"),
        .text("store", "settings of the store that is served (zero-stor)"),
        .text("words", "file with the recovery words of the store's owner"),
        .text("store-state", "folder where the store's index is kept between runs"),
        .flag("memory", "keep everything in memory: for trying, and for tests of clients; nothing is kept"),
        .text("keys", "a file with a line “<access key> <secret> <identity> [owner]” for each key"),
        .text("access-key", "access key of the owner"),
        .text("secret-file", "file that holds the owner's secret"),
        .integer("requests-per-second", "more are told to slow down; 0: no limit", default: 0),
        .integer("connections", "most connections", default: 1024, in: 1...65535),
        .integer(
            "lifecycle-day", "seconds that lifecycle rules count as a day; for tests", default: 86_400, in: 1...86_400),
        .integer(
            "connections-of-address", "most connections of one address; as --connections unless given", in: 1...65535),
        .flag("access-log", "write a line for each request to standard output"),
    ],
    folders: .none
) { context in
    let settings = context.settings
    let store: any ObjectStore
    var caretaker: Caretaker?
    var options = S3Gateway.Options()
    if settings.isOn("memory") {
        store = MemoryObjectStore()
    } else if let file = settings.optional("store"), let words = settings.optional("words") {
        let log = context.log
        let archive = try OpenedStore.open(
            StoreSettings(file: file), words: words, state: settings.optional("store-state"), url: "")
        caretaker = Caretaker(archive) { log.info("care", ["event": $0]) }
        options.storeMetrics = { (try? archive.metrics()) ?? "" }
        store = archive
    } else {
        context.log.error("no store: --store and --words name one, --memory is for trying")
        exit(2)
    }
    if let path = settings.optional("keys") {
        for key in try S3Service.readKeys(path) { try store.setAccessKey(key) }
    }
    if let id = settings.optional("access-key"), let path = settings.optional("secret-file") {
        try store.setAccessKey(try S3Service.ownerKey(id, path))
    }
    options.domain = settings.optional("domain")
    options.region = settings.text("region")
    options.requestsPerSecond = settings.integer("requests-per-second")
    if settings.isOn("access-log") {
        options.accessLog = { line in
            let bytes = Array((line + "\n").utf8)
            _ = bytes.withUnsafeBytes { write(1, $0.baseAddress, $0.count) }
        }
    }
    let log = context.log
    let lifecycle = LifecycleWorker(store, day: settings.integer("lifecycle-day")) {
        log.info("lifecycle", ["event": $0])
    }
    let connections = settings.integer("connections")
    let service = try S3Service(
        S3Gateway(store, options),
        HTTPStreamServer.Options(
            address: settings.text("listen"), port: UInt16(settings.integer("port")), connectionsMax: connections,
            connectionsOfAddressMax: settings.optionalInteger("connections-of-address") ?? connections),
        metricsPort: settings.optionalInteger("metrics-port").map { UInt16($0) })
    context.log.info("ready", ["port": Int(service.port), "store": settings.optional("store") ?? "memory"])
    Daemon.ready()
    while !Task.isCancelled { try? await Task.sleep(for: .seconds(3600)) }
    service.stop()
    lifecycle.stop()
    caretaker?.stop()
}
