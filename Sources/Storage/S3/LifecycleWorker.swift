public import Objects
import Linux
import Synchronization

/// Does what the buckets' lifecycle rules say, again and again, on a thread of its own.
///
/// It goes through the versions of each bucket that has rules, newest first within a key. What it removes is judged once more when it is
/// removed: what was written or locked meanwhile stays.
public final class LifecycleWorker: Sendable {
    private let store: any ObjectStore
    /// Milliseconds that count as a day.
    private let day: Int64
    private let note: @Sendable (String) -> Void
    private let isStopping = Atomic<Bool>(false)

    /// Begins; `day` is how long a day is, in seconds (others than 86,400 are for tests).
    public init(_ store: any ObjectStore, day: Int = 86_400, note: @escaping @Sendable (String) -> Void) {
        (self.store, self.day, self.note) = (store, Int64(day) * 1000, note)
        startThread { self.run() }
    }

    /// Ends it after the bucket at hand.
    public func stop() { isStopping.store(true, ordering: .relaxed) }

    private func run() {
        let pause = max(1000, min(3_600_000, day / 10))
        var next: Int64 = 0
        while !isStopping.load(ordering: .relaxed) {
            let now = Clock.monotonicNanoseconds() / 1_000_000
            if now >= next, store.writer == .here {
                round()
                next = Clock.monotonicNanoseconds() / 1_000_000 + pause
            }
            Clock.sleep(nanoseconds: 500_000_000)
        }
    }

    private func round() {
        do throws(ObjectError) {
            for bucket in try store.buckets() {
                if isStopping.load(ordering: .relaxed) { return }
                guard let document = bucket.settings[Setting.lifecycle], let rules = try? Lifecycle(document) else {
                    continue
                }
                let count = try Self.apply(rules, bucket, store, now: Clock.wallMilliseconds(), day: day)
                if count > 0 { note("lifecycle bucket=\(bucket.name) removed=\(count)") }
            }
        } catch {
            note("lifecycle failed: \(error)")
        }
    }

    /// Goes through a bucket once; how much it removed.
    static func apply(
        _ rules: Lifecycle, _ bucket: Bucket, _ store: any ObjectStore, now: Int64, day: Int64
    ) throws(ObjectError) -> Int {
        var count = 0
        var walk = Walk()
        var query = ListQuery()
        while true {
            let page = try store.listVersions(bucket.name, query)
            for version in page.entries {
                // A marker with nothing behind it is known by the next key.
                if let marker = walk.marker, marker.key != version.key {
                    count += try remove(marker: marker, rules, bucket, store, now, day)
                }
                let (since, rank) = walk.step(version)
                if version.isLatest {
                    if version.isDeleteMarker { continue }
                    guard let found = rules.expiration(of: version, day: day), found.time <= now else { continue }
                    count += try remove(version, nil, bucket, store, now)
                } else if rules.letsGo(version, since: since, rank: rank, now: now, day: day) {
                    count += try remove(version, version.id, bucket, store, now)
                }
            }
            guard page.isTruncated, let last = page.entries.last else { break }
            (query.after, query.afterVersion) = (last.key, last.id)
        }
        if let marker = walk.marker { count += try remove(marker: marker, rules, bucket, store, now, day) }
        return try count + abort(rules, bucket, store, now, day)
    }

    /// Where the walk over versions is.
    private struct Walk {
        var key: ObjectKey?
        /// The delete marker that is all that was seen of its key.
        var marker: ObjectVersion?
        var newer: Int64 = 0
        var former = 0

        /// When the version was replaced, and how many former ones are newer.
        mutating func step(_ version: ObjectVersion) -> (since: Int64, rank: Int) {
            if key != version.key {
                (key, former) = (version.key, 0)
                marker = version.isDeleteMarker && version.isLatest ? version : nil
                newer = version.modified
                return (version.modified, 0)
            }
            marker = nil
            defer {
                newer = version.modified
                former += 1
            }
            return (newer, former)
        }
    }

    private static func remove(
        marker: ObjectVersion, _ rules: Lifecycle, _ bucket: Bucket, _ store: any ObjectStore, _ now: Int64,
        _ day: Int64
    ) throws(ObjectError) -> Int {
        rules.letsGo(marker: marker, now: now, day: day) ? try remove(marker, marker.id, bucket, store, now) : 0
    }

    /// Removes it if it is still what it was, and not locked; 1 if it did.
    private static func remove(
        _ version: ObjectVersion, _ id: VersionID?, _ bucket: Bucket, _ store: any ObjectStore, _ now: Int64
    ) throws(ObjectError) -> Int {
        let isForGood = id != nil || bucket.versioning == .off
        do throws(ObjectError) {
            let removed = try store.delete(bucket.name, version.key, id, owner: bucket.owner) {
                found throws(ObjectError) in
                guard let found, found.sequence == version.sequence else { throw .conditionFailed("it was replaced") }
                if isForGood { try S3Gateway.checkLock(found.attributes, now, bypass: false) }
            }
            return removed == nil ? 0 : 1
        } catch {
            switch error {
            case .conditionFailed, .refused, .noSuchKey, .noSuchVersion, .noSuchBucket: return 0
            default: throw error
            }
        }
    }

    private static func abort(
        _ rules: Lifecycle, _ bucket: Bucket, _ store: any ObjectStore, _ now: Int64, _ day: Int64
    ) throws(ObjectError) -> Int {
        var count = 0
        var query = ListQuery()
        while true {
            let page = try store.listUploads(bucket.name, query)
            for upload in page.entries where rules.letsGo(upload, now: now, day: day) {
                do throws(ObjectError) { try store.abort(bucket.name, upload.key, upload.id) } catch {
                    if case .noSuchUpload = error { continue }
                    throw error
                }
                count += 1
            }
            guard page.isTruncated, let last = page.entries.last else { return count }
            (query.after, query.afterUpload) = (last.key, last.id)
        }
    }
}
