public import Crypto

/// An IPv4 address.
public struct IPv4Address: Hashable, Sendable, Comparable, CustomStringConvertible {
    /// The address, first octet highest.
    public var value: UInt32

    /// From its number.
    public init(_ value: UInt32) { self.value = value }

    /// From `a.b.c.d`; each part decimal without leading zeros.
    public init?(_ text: String) {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 4 else { return nil }
        var value: UInt32 = 0
        for part in parts {
            guard let octet = UInt8(part), String(octet) == part else { return nil }
            value = value << 8 | UInt32(octet)
        }
        self.value = value
    }

    /// `a.b.c.d`.
    public var description: String {
        [24, 16, 8, 0].map { String(value >> UInt32($0) & 255) }.joined(separator: ".")
    }

    /// By number.
    public static func < (left: IPv4Address, right: IPv4Address) -> Bool { left.value < right.value }
}

/// An IPv4 range in CIDR form whose host bits are zero.
public struct IPv4Range: Hashable, Sendable, CustomStringConvertible {
    /// First address.
    public let base: IPv4Address
    /// Length of the prefix, 0 to 32.
    public let prefix: Int

    /// A range; `nil` where `base` has host bits.
    public init?(base: IPv4Address, prefix: Int) {
        guard (0...32).contains(prefix), base.value & ~IPv4Range.mask(prefix) == 0 else { return nil }
        (self.base, self.prefix) = (base, prefix)
    }

    /// From `a.b.c.d/n`.
    public init?(_ text: String) {
        let halves = text.split(separator: "/", omittingEmptySubsequences: false)
        guard halves.count == 2, let prefix = Int(halves[1]), String(prefix) == halves[1] else { return nil }
        guard let base = IPv4Address(String(halves[0])) else { return nil }
        self.init(base: base, prefix: prefix)
    }

    /// `a.b.c.d/n`.
    public var description: String { "\(base)/\(prefix)" }

    /// Whether `address` is inside.
    public func contains(_ address: IPv4Address) -> Bool { address.value & IPv4Range.mask(prefix) == base.value }

    /// Whether all of `other` is inside.
    public func contains(_ other: IPv4Range) -> Bool { other.prefix >= prefix && contains(other.base) }

    /// Whether the ranges share an address.
    public func overlaps(_ other: IPv4Range) -> Bool { contains(other.base) || other.contains(base) }

    /// How many /24 the range holds (1 for a /24).
    public var nodeSubnets: Int { prefix > 24 ? 0 : 1 << (24 - prefix) }

    /// The /24 with this index inside the range.
    public func nodeSubnet(_ index: Int) -> IPv4Range? {
        guard index >= 0, index < nodeSubnets else { return nil }
        return IPv4Range(base: IPv4Address(base.value + UInt32(index) << 8), prefix: 24)
    }

    /// The index of a /24 of this range, the inverse of `nodeSubnet`.
    public func index(of subnet: IPv4Range) -> Int? {
        guard subnet.prefix == 24, contains(subnet) else { return nil }
        return Int((subnet.base.value - base.value) >> 8)
    }

    /// The private ranges of RFC 1918 and the shared one of RFC 6598.
    public static let allowed: [IPv4Range] = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"]
        .compactMap { IPv4Range($0) }

    private static func mask(_ prefix: Int) -> UInt32 { prefix == 0 ? 0 : UInt32.max << UInt32(32 - prefix) }
}

/// The IPv6 side of a contract's network: a /48 ULA prefix that follows from the contract's id (RFC 4193).
public struct ContractPrefix: Hashable, Sendable, CustomStringConvertible {
    /// The six bytes of the /48: `fd` and 40 bits of SHA-256 of the contract id.
    public let bytes: [UInt8]

    /// The prefix of a contract.
    public init(contract: Digest) { bytes = [0xFD] + SHA256.hash(contract.bytes).bytes.prefix(5) }

    /// `fdxx:xxxx:xxxx::/48`.
    public var description: String { "\(groups)::/48" }

    /// The /64 of the node subnet with this index: `fdxx:xxxx:xxxx:i::/64`.
    public func subnet(_ index: Int) -> String { "\(groups):\(String(index & 0xFFFF, radix: 16))::/64" }

    /// The address of a member whose IPv4 address ends with `host`: `fdxx:xxxx:xxxx:i::host`.
    public func address(subnet index: Int, host: Int) -> String {
        "\(groups):\(String(index & 0xFFFF, radix: 16))::\(String(host & 0xFF, radix: 16))"
    }

    private var groups: String {
        stride(from: 0, to: 6, by: 2)
            .map { String(UInt16(bytes[$0]) << 8 | UInt16(bytes[$0 + 1]), radix: 16) }
            .joined(separator: ":")
    }
}
