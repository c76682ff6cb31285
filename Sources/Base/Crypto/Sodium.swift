internal import CSodium

/// Starts libsodium once; everything that uses it asks for `Sodium.ready` first.
enum Sodium {
    /// Whether the library is usable. It fails only where the kernel gives no randomness.
    static let ready: Bool = sodium_init() >= 0

    static func start() { precondition(ready, "libsodium did not start: the system gives no randomness") }

    /// Overwrites an array in a way that the optimiser keeps.
    static func wipe(_ bytes: inout [UInt8]) {
        bytes.withUnsafeMutableBytes { buffer in
            if let base = buffer.baseAddress { sodium_memzero(base, buffer.count) }
        }
    }
}

/// Random bytes of the kernel's generator.
public enum Random {
    /// `count` bytes that nobody can predict.
    public static func bytes(_ count: Int) -> [UInt8] {
        Sodium.start()
        return [UInt8](unsafeUninitializedCapacity: max(count, 0)) { buffer, filled in
            guard let base = buffer.baseAddress else { return }
            randombytes_buf(base, count)
            filled = count
        }
    }
}

/// Compares secrets in a time that depends on their lengths only.
public func equalInConstantTime(_ left: [UInt8], _ right: [UInt8]) -> Bool {
    guard left.count == right.count else { return false }
    return sodium_memcmp(left, right, left.count) == 0
}

/// Overwrites the bytes of a secret that is no longer needed. Copies made earlier are not reached.
public func wipe(_ bytes: inout [UInt8]) { Sodium.wipe(&bytes) }

/// A secret in memory of its own: between guard pages, kept out of swap and core dumps where the system allows it, and
/// overwritten when the last reference goes.
///
/// The bytes never change after `init`, which is why the class may cross threads.
final class SecretBytes: @unchecked Sendable {
    let pointer: UnsafeMutablePointer<UInt8>
    let count: Int
    private let isGuarded: Bool

    init(count: Int, fill: (UnsafeMutablePointer<UInt8>) -> Void) {
        Sodium.start()
        self.count = count
        if let guarded = sodium_malloc(count) {
            pointer = guarded.bindMemory(to: UInt8.self, capacity: count)
            isGuarded = true
        } else {
            // The process has as many mappings as the kernel allows; the secret then lies in ordinary memory.
            pointer = .allocate(capacity: count)
            isGuarded = false
        }
        pointer.initialize(repeating: 0, count: count)
        fill(pointer)
    }

    /// The first `count` bytes, copied.
    func prefix(_ count: Int) -> [UInt8] { Array(UnsafeBufferPointer(start: pointer, count: min(count, self.count))) }

    deinit {
        if isGuarded {
            sodium_free(pointer)
        } else {
            sodium_memzero(pointer, count)
            pointer.deallocate()
        }
    }
}
