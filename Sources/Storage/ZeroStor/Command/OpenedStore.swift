internal import Crypto
internal import Dispersal
internal import CLinux
internal import Linux
internal import ObjectIndex
internal import Objects
internal import RESP

/// A store opened from a file of settings and its owner's recovery words, as programs do.
public enum OpenedStore {
    /// What stands in the way.
    public struct Failure: Error, Sendable, CustomStringConvertible {
        /// A sentence for people.
        public let description: String
    }

    /// The store's secret of recovery words; from them alone everything can be had back.
    public static func secret(words file: String) throws(Failure) -> [UInt8] {
        do {
            let words = try RecoveryWords(words: try File.readText(file, limit: 4096))
            return HKDF.sha256(secret: words.seed(), info: Array("zero/stor".utf8), length: 32)
        } catch { throw Failure(description: "\(file): \(error)") }
    }

    /// Opens it with its index in `state`; another process that has it open there keeps it, and the index is then derived in memory.
    public static func open(
        _ settings: StoreSettings, words: String, state: String?, url: String, follows: Bool = false
    ) throws(Failure) -> ZeroStore {
        let secret = try secret(words: words)
        let path = try state.flatMap { (folder) throws(Failure) in try own(folder) }
        do throws(ObjectError) {
            return try ZeroStore(settings, secret: secret, index: path, url: url, follows: follows)
        } catch { throw Failure(description: "\(error)") }
    }

    /// The index's file where no other process has it; the lock is held until this process ends.
    private static func own(_ folder: String) throws(Failure) -> String? {
        do throws(SystemError) { try File.makeDirectories(folder, mode: 0o700) } catch {
            throw Failure(description: "\(error)")
        }
        return zg_lock_file(folder + "/lock") >= 0 ? folder + "/index" : nil
    }

    /// What a layout promises, or why it cannot; and makes the namespaces that are not there, where the connections may.
    public static func prepare(_ settings: StoreSettings) throws(Failure) -> [String] {
        let candidates = settings.backends.map {
            PlaceCandidate(number: $0.number, node: $0.farm + "/" + $0.node, farm: $0.farm, weight: Double($0.weight))
        }
        let policy = settings.policy
        do throws(DispersalError) {
            try Placement.check(
                data: policy.k, parity: policy.m,
                promise: Promise(nodes: policy.surviveNodes, farms: policy.surviveFarms), candidates: candidates)
        } catch { throw Failure(description: "the promise cannot be kept: \(error)") }
        if let why = settings.logShortfall { throw Failure(description: "the promise cannot be kept: \(why)") }
        var made: [String] = []
        for backend in settings.backends {
            guard let address = BackendAddress(backend.address) else { continue }
            let client =
                switch address.place {
                case .tcp(let host, let port): RESPClient(host: host, port: port)
                case .unix(let path): RESPClient(unix: path)
                }
            do {
                if try client.call("SELECT", address.namespace).failure != nil {
                    let reply = try client.call("NSNEW", address.namespace)
                    if let failure = reply.failure {
                        throw Failure(description: "\(backend.address): \(failure.code) \(failure.message)")
                    }
                    made.append(backend.address)
                }
            } catch let failure as Failure { throw failure } catch { throw Failure(description: "\(error)") }
        }
        return made
    }
}
