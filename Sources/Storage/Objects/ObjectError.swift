/// Why an object store did not do what it was asked.
public enum ObjectError: Error, Sendable, Equatable, CustomStringConvertible {
    case noSuchBucket(String)
    /// It exists; who has it.
    case bucketExists(String, owner: String)
    case bucketNotEmpty(String)
    case noSuchKey(ObjectKey)
    case noSuchVersion(ObjectKey, VersionID)
    /// The newest version, or the one asked for, is a delete marker.
    case deleteMarker(ObjectKey, VersionID, asked: Bool)
    case noSuchUpload(String)
    /// A part that is not there, or has another ETag.
    case invalidPart(Int)
    /// A condition of the request does not hold; its name, such as `If-Match`.
    case conditionFailed(String)
    /// Refused by a check that the caller gave: a lock, a right.
    case refused(String)
    /// The customer's key is not the one the object was written with, or is missing.
    case wrongKey(ObjectKey)
    /// No space for it anywhere that the promise allows; try later.
    case full(String)
    /// Too much at once; try again soon.
    case busy(String)
    /// Too few backends answer; what is known of it.
    case unavailable(String)
    /// Data is there that does not match its hashes, and too little else to make it whole.
    case damaged(String)
    /// This gateway is not the writer (any more).
    case notWriter(String)

    /// A sentence for people.
    public var description: String {
        switch self {
        case .noSuchBucket(let name): "there is no bucket \(name)"
        case .bucketExists(let name, _): "the bucket \(name) exists already"
        case .bucketNotEmpty(let name): "the bucket \(name) is not empty"
        case .noSuchKey(let key): "there is no object \(key)"
        case .noSuchVersion(let key, let version): "there is no version \(version) of \(key)"
        case .deleteMarker(let key, let version, _): "version \(version) of \(key) is a delete marker"
        case .noSuchUpload(let id): "there is no upload \(id)"
        case .invalidPart(let number): "part \(number) is not there or has another ETag"
        case .conditionFailed(let name): "the condition \(name) does not hold"
        case .refused(let reason): reason
        case .wrongKey(let key): "\(key) was written with another customer's key"
        case .full(let reason): "no space: \(reason)"
        case .busy(let reason): "too much at once: \(reason)"
        case .unavailable(let reason): "too few backends answer: \(reason)"
        case .damaged(let reason): "damaged beyond repair: \(reason)"
        case .notWriter(let reason): "this gateway does not write: \(reason)"
        }
    }
}
