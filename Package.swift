// swift-tools-version: 6.2
// Zero Grid: one package, one target a module, folders by layer. The table below is the whole
// dependency graph; `script/arrows` checks that every arrow points down or along a drawn sibling arrow.
import PackageDescription

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

/// How a module is compiled.
enum Kind {
    /// Control-plane and pure Swift: strict memory safety.
    case safe
    /// Talks to C or owns raw buffers: the compiler's strict memory safety is off, sanitizers and fuzzers are on.
    case unsafe
    /// A program: thin `main` that wires modules together.
    case program
    /// Our own C.
    case c(links: [String])
    /// A C library of the system.
    case library
}

struct Module {
    let layer: String
    let name: String
    let kind: Kind
    let uses: [String]
    init(_ layer: String, _ name: String, _ kind: Kind, _ uses: [String] = []) {
        (self.layer, self.name, self.kind, self.uses) = (layer, name, kind, uses)
    }
    var path: String { "Sources/\(layer)/\(name)" }
}

let modules: [Module] = [
    // C: our shims and one system-library target a C library.
    Module("C", "CLinux", .c(links: [])),
    Module("C", "CPrefetch", .c(links: [])),
    Module("C", "CHTTP", .c(links: ["microhttpd", "curl"])),
    Module("C", "CTLS", .c(links: ["ssl", "crypto"])),
    Module("C", "CFuse", .c(links: ["fuse3"])),
    Module("C", "CInflate", .c(links: ["isal"])),
    Module("C", "CSodium", .library), Module("C", "COpenSSL", .library), Module("C", "CISAL", .library),
    Module("C", "CZstd", .library), Module("C", "CLZ4", .library), Module("C", "CZlib", .library),
    Module("C", "CSQLite", .library), Module("C", "CYAML", .library), Module("C", "CExpat", .library),

    // Base
    Module("Base", "Bytes", .safe),
    Module("Base", "CanonicalJSON", .safe, ["Bytes"]),
    Module("Base", "Linux", .unsafe, ["CLinux"]),
    Module("Base", "Simulation", .safe, ["Bytes"]),
    Module("Base", "EventLoop", .unsafe, ["CLinux", "Linux"]),
    Module("Base", "RESP", .unsafe, ["Bytes", "Linux", "CLinux"]),
    Module("Base", "Crypto", .unsafe, ["Bytes", "CanonicalJSON", "Linux", "CSodium", "COpenSSL"]),
    Module("Base", "HTTP", .unsafe, ["Bytes", "Linux", "CLinux", "CHTTP"]),
    Module("Base", "Bus", .unsafe, ["Bytes", "CanonicalJSON", "Linux", "CLinux", "RESP"]),
    Module("Base", "Service", .unsafe, ["Bytes", "CanonicalJSON", "Linux", "CLinux", "Bus"]),
    Module("Base", "Terminal", .safe, ["Bytes", "CanonicalJSON", "Linux"]),

    // Storage
    Module("Storage", "LogEngine", .unsafe, ["Bytes", "CISAL", "CPrefetch", "Simulation"]),
    Module("Storage", "LogSimulator", .unsafe, ["LogEngine", "Simulation"]),
    Module(
        "Storage", "ZeroDB", .unsafe,
        [
            "Bytes", "Linux", "CLinux", "CPrefetch", "CISAL", "EventLoop", "RESP", "LogEngine", "Simulation", "Crypto",
            "HTTP",
            "CTLS",
        ]),
    Module("Storage", "Objects", .unsafe),
    Module("Storage", "ObjectIndex", .unsafe, ["Bytes", "Crypto", "Objects", "CSQLite"]),
    Module("Storage", "Dispersal", .unsafe, ["Bytes", "Crypto", "CISAL", "CLZ4", "CZstd"]),
    Module(
        "Storage", "ZeroStor", .unsafe,
        [
            "Bytes", "Crypto", "RESP", "EventLoop", "Linux", "CLinux", "Objects", "Dispersal", "ObjectIndex",
            "Terminal",
            "CanonicalJSON",
        ]),
    Module(
        "Storage", "S3", .unsafe,
        [
            "Objects", "HTTP", "CHTTP", "Crypto", "Bytes", "CanonicalJSON", "Linux", "Service", "CISAL", "COpenSSL",
            "CExpat",
        ]),
    Module("Storage", "Flist", .unsafe, ["Bytes", "Crypto", "RESP", "CZstd"]),
    Module(
        "Storage", "ImageImport", .unsafe,
        ["Bytes", "Linux", "CLinux", "Crypto", "CanonicalJSON", "RESP", "Flist", "CZstd", "CInflate"]),
    Module(
        "Storage", "ZeroFS", .unsafe,
        ["Bytes", "Linux", "CLinux", "Crypto", "CanonicalJSON", "RESP", "Service", "Flist", "CFuse"]),

    // Ledger
    Module("Ledger", "Records", .safe, ["Bytes", "CanonicalJSON", "Crypto"]),
    Module("Ledger", "Merkle", .safe, ["Bytes", "Crypto"]),
    Module("Ledger", "Contracts", .unsafe, ["Bytes", "CanonicalJSON", "Crypto", "Records", "CYAML"]),
    Module(
        "Ledger", "LedgerState", .safe, ["Bytes", "CanonicalJSON", "Crypto", "Records", "Merkle", "Contracts"]),
    Module(
        "Ledger", "LedgerClient", .safe,
        ["Bytes", "CanonicalJSON", "Crypto", "HTTP", "Linux", "Records", "Merkle", "Contracts", "LedgerState"]),
    Module(
        "Ledger", "LedgerStore", .unsafe,
        [
            "Bytes", "CanonicalJSON", "Crypto", "HTTP", "Linux", "RESP", "Bus", "Service", "Records", "Merkle",
            "Contracts", "LedgerState", "LedgerClient", "CSQLite",
        ]),

    // Node
    Module("Node", "Core0", .unsafe, ["CanonicalJSON", "Linux", "CLinux", "RESP", "Bus"]),
    Module(
        "Node", "Identity", .unsafe,
        ["Bytes", "CanonicalJSON", "Crypto", "Linux", "CLinux", "Bus", "Service", "Records"]),
    Module(
        "Node", "StoragePools", .unsafe,
        ["Bytes", "CanonicalJSON", "Crypto", "Linux", "CLinux", "RESP", "Bus", "Service"]),
    Module(
        "Node", "Network", .unsafe, ["Bytes", "CanonicalJSON", "Crypto", "Linux", "CLinux", "RESP", "Bus", "Service"]),
    Module("Node", "Gateway", .unsafe, ["Bytes", "CanonicalJSON", "Linux", "CLinux", "Bus", "Service"]),
    Module("Node", "Shim", .unsafe, ["Bytes", "CanonicalJSON", "Linux", "CLinux", "RESP"]),
    Module(
        "Node", "Containers", .unsafe,
        ["Bytes", "CanonicalJSON", "Crypto", "Linux", "CLinux", "RESP", "Bus", "Service", "Shim"]),
    Module(
        "Node", "CoreX", .unsafe,
        ["Bytes", "CanonicalJSON", "Crypto", "Linux", "CLinux", "HTTP", "RESP", "Bus", "Service", "Records", "Shim"]),
    Module(
        "Node", "Provision", .safe,
        [
            "Bytes", "CanonicalJSON", "Crypto", "Linux", "Bus", "Service", "Records", "Merkle", "Contracts",
            "LedgerState", "LedgerClient",
        ]),

    // Autonomy
    Module(
        "Autonomy", "CommandLine", .unsafe,
        [
            "Bytes", "CanonicalJSON", "Crypto", "Linux", "CLinux", "RESP", "Bus", "HTTP", "Terminal", "Records",
            "Contracts",
            "LedgerState", "LedgerClient", "Flist", "ImageImport", "Shim", "CoreX",
        ]),

    // Programs
    Module("Programs", "zero", .program, ["CommandLine"]),
    Module("Programs", "zero-core", .program, ["Core0"]),
    Module("Programs", "zero-identity", .program, ["Identity", "Service"]),
    Module("Programs", "zero-db", .program, ["ZeroDB"]),
    Module("Programs", "zero-stor", .program, ["ZeroStor"]),
    Module("Programs", "zero-db-simulate", .program, ["LogSimulator"]),
    Module("Programs", "zero-ledger", .program, ["LedgerStore", "Service"]),
    Module("Programs", "zero-storage", .program, ["StoragePools", "Service", "Linux"]),
    Module("Programs", "zero-network", .program, ["Network", "Service"]),
    Module("Programs", "zero-gateway", .program, ["Gateway", "Service"]),
    Module("Programs", "zero-compute", .program, ["Containers", "Service"]),
    Module("Programs", "zero-shim", .program, ["Shim"]),
    Module("Programs", "zero-corex", .program, ["CoreX", "Service"]),
    Module(
        "Programs", "zero-fs", .program,
        ["ZeroFS", "ImageImport", "Flist", "CanonicalJSON", "Crypto", "RESP", "Service"]),
    Module("Programs", "zero-s3", .program, ["S3", "ZeroStor", "Objects", "HTTP", "Service"]),
    Module("Programs", "zero-provision", .program, ["Provision", "Service"]),
]

let strict: [SwiftSetting] = [
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
    .treatAllWarnings(as: .error),
]

let files = FileManager.default
let root = Context.packageDirectory
func present(_ path: String) -> Bool {
    guard let names = try? files.contentsOfDirectory(atPath: root + "/" + path) else { return false }
    return names.contains { $0 != "include" }
}

/// `ZERO_TARGETS=Crypto,Bus swift test` builds just those modules, what they use and their tests.
let byName = Dictionary(uniqueKeysWithValues: modules.map { ($0.name, $0) })
func wanted() -> Set<String> {
    guard let list = Context.environment["ZERO_TARGETS"], !list.isEmpty else { return Set(byName.keys) }
    var found = Set<String>(), open = list.split(separator: ",").map(String.init)
    while let next = open.popLast() { if found.insert(next).inserted { open += byName[next]?.uses ?? [] } }
    return found
}
let selected = wanted()
let chosen = modules.filter { selected.contains($0.name) }
let chosenNames = Set(chosen.map(\.name))
func dependencies(_ names: [String]) -> [Target.Dependency] {
    names.filter(chosenNames.contains).map { .byName(name: $0) }
}

/// Programs that carry the C library too when they are released: one shim a container, so 2.5 MB less count each time.
let whole: Set = ["zero-shim"]

/// Optimised in debug builds too: tests run millions of operations through them. Assertions and checks stay.
let optimised: Set = ["Simulation", "LogEngine", "LogSimulator"]
func settings(_ module: Module) -> [SwiftSetting] {
    strict + (optimised.contains(module.name) ? [.unsafeFlags(["-O"], .when(configuration: .debug))] : [])
}

var targets: [Target] = chosen.map { module in
    let uses = dependencies(module.uses)
    switch module.kind {
    case .safe:
        return .target(
            name: module.name, dependencies: uses, path: module.path,
            swiftSettings: settings(module) + [.strictMemorySafety()])
    case .unsafe:
        return .target(name: module.name, dependencies: uses, path: module.path, swiftSettings: settings(module))
    case .program:
        return .executableTarget(
            name: module.name, dependencies: uses, path: module.path, swiftSettings: strict,
            linkerSettings: whole.contains(module.name)
                ? [.unsafeFlags(["-static-executable"], .when(configuration: .release))] : [])
    case .c(let links):
        return .target(
            name: module.name, path: module.path, publicHeadersPath: "include",
            cSettings: [.unsafeFlags(["-Wall", "-Wextra", "-Werror"])], linkerSettings: links.map { .linkedLibrary($0) }
        )
    case .library:
        return .systemLibrary(name: module.name, path: module.path)
    }
}
targets += chosen.compactMap { module in
    let path = "Tests/\(module.layer)/\(module.name)Tests"
    guard present(path) else { return nil }
    return .testTarget(
        name: module.name + "Tests", dependencies: dependencies(module.uses + [module.name]), path: path,
        swiftSettings: strict)
}

let package = Package(
    name: "zero-grid",
    products: chosen.compactMap { module in
        if case .program = module.kind { .executable(name: module.name, targets: [module.name]) } else { nil }
    },
    targets: targets,
    swiftLanguageModes: [.v6]
)
