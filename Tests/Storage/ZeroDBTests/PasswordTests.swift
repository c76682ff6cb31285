import Crypto
import Testing

@testable import ZeroDB

@Suite struct PasswordTests {
    @Test func aVerifierRecognisesItsPasswordAndIsNoPassword() throws {
        let password = Array("correct horse".utf8)
        let verifier = try PasswordVerifier(password: password, salt: Random.bytes(16))
        #expect(verifier.matches(password))
        #expect(!verifier.matches(Array("correct horsf".utf8)))
        #expect(PasswordVerifier(encoded: verifier.encoded) == verifier)
        #expect(PasswordVerifier(line: verifier.line) == verifier)
        // What stands on the disk does not log in: neither as a proof nor as a key of one.
        let message = Array("admin,challenge,".utf8)
        var proof = HMAC.sha256(key: verifier.stored, message)
        for index in proof.indices { proof[index] ^= verifier.stored[index] }
        #expect(!verifier.accepts(proof: proof, message: message))
        #expect(!verifier.accepts(proof: verifier.stored, message: message))
        #expect(!verifier.accepts(proof: [], message: message))
    }

    @Test func aDamagedVerifierIsNone() throws {
        let verifier = PasswordVerifier(decoy: [1], secret: [2])
        for count in 0..<verifier.encoded.count {
            #expect(PasswordVerifier(encoded: Array(verifier.encoded.prefix(count))) == nil)
        }
        var huge = verifier.encoded
        huge[4] = 0xff
        #expect(PasswordVerifier(encoded: huge) == nil)
    }

    @Test func decoysKeepTheirSalt() {
        let (first, second) = (PasswordVerifier(decoy: [1], secret: [9]), PasswordVerifier(decoy: [1], secret: [9]))
        #expect(first.salt == second.salt)
        #expect(first.salt != PasswordVerifier(decoy: [2], secret: [9]).salt)
        #expect(first.salt != PasswordVerifier(decoy: [1], secret: [8]).salt)
    }

    @Test func attemptsAreLimitedForEachAddress() {
        var limiter = AttemptLimiter()
        for _ in 0..<Int(AttemptLimiter.burst) { #expect(limiter.take([1], now: 0) == nil) }
        #expect(limiter.take([1], now: 0) == 2)
        #expect(limiter.take([2], now: 0) == nil)
        #expect(limiter.take([1], now: 2_000_000_000) == nil)
        #expect(limiter.take([1], now: 2_000_000_000) != nil)
        limiter.giveBack([1], now: 2_000_000_000)
        #expect(limiter.take([1], now: 2_000_000_000) == nil)
    }

    @Test func aFloodOfAddressesSharesABucket() {
        var limiter = AttemptLimiter()
        func address(_ number: Int) -> [UInt8] { [UInt8(number & 255), UInt8(number >> 8)] }
        for number in 0..<AttemptLimiter.addressesMax { #expect(limiter.take(address(number), now: 0) == nil) }
        var refused = 0
        for number in 0..<100 where limiter.take(address(60_000 + number), now: 0) != nil { refused += 1 }
        #expect(refused == 80)
        // Who was known before keeps its own.
        #expect(limiter.take(address(5), now: 0) == nil)
    }
}
