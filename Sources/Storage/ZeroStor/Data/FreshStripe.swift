internal import ObjectIndex
internal import Synchronization

/// A stripe whose shards are on backends, and that no entry of the log knew when they were written.
///
/// Several pieces of data may hold one, where their small chunks share it; the first that is committed brings it into the log. When nobody holds
/// it any more and nobody tried to, its shards are removed.
final class FreshStripe: Sendable {
    let stripe: Stripe
    private let writer: StripeWriter
    private let isOffered = Atomic<Bool>(false)

    init(_ stripe: Stripe, _ writer: StripeWriter) { (self.stripe, self.writer) = (stripe, writer) }

    deinit {
        if !isOffered.load(ordering: .relaxed) { writer.remove(stripe.id, stripe.shards) }
        writer.pins.end(stripe.id)
    }

    /// An entry of the log is about to name it. Whether it counts may never be known here, so from now on only the collector removes it.
    func offer() { isOffered.store(true, ordering: .relaxed) }
}
