internal import Bus
internal import CanonicalJSON
internal import Crypto
internal import Records

/// What the node's key signs, for whom. Everything else is refused.
struct SigningPolicy {
    let node: PublicKey

    /// Kinds that a node writes about itself.
    static let recordKinds: Set<RecordKind> = [.identity, .node, .result, .liveness]

    /// The message to sign for `document`, or why it is not signed.
    func message(
        purpose: String, document: JSONValue, ledger: String?, account: Account?
    ) throws(BusError) -> [UInt8] {
        let allowed: Set<Account>
        switch purpose {
        case "checkpoint": allowed = [.ledger, .root]
        case "record": allowed = [.provision, .root]
        default:
            throw .badRequest("IDENTITY.SIGN knows the purposes checkpoint and record, not \(quoted(purpose))")
        }
        guard let account, allowed.contains(account) else {
            throw .denied("\(account?.name ?? "this account") may not ask for signatures of purpose \(purpose)")
        }
        do throws(RecordError) {
            return purpose == "record"
                ? try record(document, ledger: ledger) : try checkpoint(document, ledger: ledger)
        } catch {
            switch error {
            case .refused(let why): throw why
            case .form(let why): throw .badRequest("the \(purpose) to sign: \(why)")
            }
        }
    }

    /// Splits refusals of ours from those of the document's decoder.
    private enum RecordError: Error {
        case refused(BusError)
        case form(String)
    }

    private func record(_ document: JSONValue, ledger: String?) throws(RecordError) -> [UInt8] {
        guard let ledger = ledger.flatMap({ Digest(hex: $0) }) else {
            throw .refused(.badRequest("a record is signed for a ledger: 64 lower-case hexadecimal digits are needed"))
        }
        let draft: RecordDraft
        do { draft = try RecordDraft(document) } catch { throw .form("\(error)") }
        guard Self.recordKinds.contains(draft.body.kind) else {
            throw .refused(.denied("a node does not sign records of kind \(draft.body.kind.rawValue)"))
        }
        guard draft.author == node else {
            throw .refused(.denied("the record's author is \(draft.author.address), this node is \(node.address)"))
        }
        guard draft.key == node else {
            throw .refused(.denied("the record's key is \(draft.key.address), this node's key is \(node.address)"))
        }
        return draft.signingMessage(ledger: ledger)
    }

    private func checkpoint(_ document: JSONValue, ledger: String?) throws(RecordError) -> [UInt8] {
        let checkpoint: Checkpoint
        do { checkpoint = try Checkpoint(document) } catch { throw .form("\(error)") }
        guard checkpoint.signatures.isEmpty else {
            throw .refused(.badRequest("the checkpoint to sign carries signatures already"))
        }
        if let ledger, ledger != checkpoint.ledger.hex {
            throw .refused(.badRequest("the checkpoint is of ledger \(checkpoint.ledger.hex), asked for is another"))
        }
        guard checkpoint.members.contains(node) else {
            throw .refused(.denied("this node is no member of the checkpoint's ledger"))
        }
        return checkpoint.signingMessage
    }
}

/// A stranger's text as it may stand in a message: short, and without control characters.
func quoted(_ text: String) -> String {
    let shown = text.unicodeScalars.prefix(40).map { $0.isASCII && $0.value >= 32 ? Character($0) : "?" }
    return "“\(String(shown))”"
}
