/// A store of objects in buckets, as a gateway sees it.
///
/// Calls block, may be made from many threads at once, and are strongly consistent: what one call did, every later one sees. Changes
/// are durable when they return. A `check` is called with the newest version as it is at the moment of the change, nothing can come
/// between; what it throws refuses the change.
public protocol ObjectStore: Sendable {
    /// Judges the version that a change is about (nil: there is none). Throws to refuse.
    typealias Check = @Sendable (ObjectVersion?) throws(ObjectError) -> Void

    // Buckets

    /// Makes a bucket; `bucketExists` where there is one.
    func createBucket(_ bucket: Bucket) throws(ObjectError)
    /// Removes an empty bucket: no versions, no delete markers. Uploads in it are aborted.
    func deleteBucket(_ name: String) throws(ObjectError)
    /// The bucket; throws `noSuchBucket`.
    func bucket(_ name: String) throws(ObjectError) -> Bucket
    /// All buckets, by name.
    func buckets() throws(ObjectError) -> [Bucket]
    /// Sets whether former versions are kept.
    func setVersioning(_ bucket: String, _ versioning: Versioning) throws(ObjectError)
    /// Sets or (nil) removes what is kept with a bucket by name.
    func setSetting(_ bucket: String, _ name: String, _ value: [UInt8]?) throws(ObjectError)

    // Objects

    /// Begins to take data; nothing is visible before `put` or `putPart`. With a customer's key (32 bytes) nobody can read it without.
    func write(customerKey: [UInt8]?) throws(ObjectError) -> any ObjectWriter
    /// Makes a new newest version of a key from data that was written.
    func put(
        _ bucket: String, _ key: ObjectKey, _ data: any StoredData, etag: String, attributes: [String: String],
        check: Check
    ) throws(ObjectError) -> ObjectVersion
    /// The data of a version, to be put under another name or as a part without being read; it stays while this is held.
    func data(_ bucket: String, _ key: ObjectKey, _ version: VersionID?, customerKey: [UInt8]?) throws(ObjectError)
        -> any StoredData
    /// The newest version (nil), or this one; `deleteMarker` where it is one.
    func version(_ bucket: String, _ key: ObjectKey, _ version: VersionID?) throws(ObjectError) -> ObjectVersion
    /// Opens a version for reading; it can be read to the end whatever happens to the key meanwhile.
    func open(_ bucket: String, _ key: ObjectKey, _ version: VersionID?, customerKey: [UInt8]?) throws(ObjectError)
        -> any ObjectReader
    /// Changes attributes of a version in place: sets, or (nil) removes. The newest one, or this one.
    func setAttributes(
        _ bucket: String, _ key: ObjectKey, _ version: VersionID?, _ change: [String: String?], check: Check
    ) throws(ObjectError) -> ObjectVersion
    /// Without a version: deletes the key, or in a versioned bucket adds a delete marker, which is returned. With one: removes that version
    /// for good and returns it. Nil where there was nothing.
    func delete(_ bucket: String, _ key: ObjectKey, _ version: VersionID?, owner: String, check: Check)
        throws(ObjectError) -> ObjectVersion?

    // Listings

    /// Newest versions that are not delete markers.
    func list(_ bucket: String, _ query: ListQuery) throws(ObjectError) -> ListPage<ObjectVersion>
    /// All versions and delete markers, newest first within a key.
    func listVersions(_ bucket: String, _ query: ListQuery) throws(ObjectError) -> ListPage<ObjectVersion>
    /// Uploads that are not complete, by key, then by id.
    func listUploads(_ bucket: String, _ query: ListQuery) throws(ObjectError) -> ListPage<Upload>

    // Uploads in parts

    /// Begins an upload.
    func createUpload(_ bucket: String, _ key: ObjectKey, attributes: [String: String], customerKey: [UInt8]?)
        throws(ObjectError) -> Upload
    /// The upload; throws `noSuchUpload`.
    func upload(_ bucket: String, _ key: ObjectKey, _ id: String) throws(ObjectError) -> Upload
    /// Adds or replaces a part.
    func putPart(
        _ bucket: String, _ key: ObjectKey, _ upload: String, number: Int, _ data: any StoredData, etag: String,
        attributes: [String: String]
    ) throws(ObjectError) -> ObjectPart
    /// Parts with higher numbers than `after`, in order, at most `limit`.
    func parts(_ bucket: String, _ key: ObjectKey, _ upload: String, after: Int, limit: Int) throws(ObjectError)
        -> [ObjectPart]
    /// Makes a version of these parts, in this order; others of the upload are dropped. `etag` and `attributes` are the object's.
    func complete(
        _ bucket: String, _ key: ObjectKey, _ upload: String, parts: [(number: Int, etag: String)], etag: String,
        attributes: [String: String], check: Check
    ) throws(ObjectError) -> ObjectVersion
    /// Drops an upload and its parts.
    func abort(_ bucket: String, _ key: ObjectKey, _ upload: String) throws(ObjectError)

    // Keys of users

    /// The key of that id.
    func accessKey(_ id: String) throws(ObjectError) -> AccessKey?
    /// All keys, by id.
    func accessKeys() throws(ObjectError) -> [AccessKey]
    /// Adds or replaces a key.
    func setAccessKey(_ key: AccessKey) throws(ObjectError)
    /// Revokes a key at once.
    func removeAccessKey(_ id: String) throws(ObjectError)

    /// Who writes to the store.
    var writer: StoreWriter { get }
}

/// Which gateway writes.
public enum StoreWriter: Sendable, Equatable {
    /// This one.
    case here
    /// Another one; requests go there: its URL.
    case elsewhere(String)
    /// Nobody yet; why.
    case nobody(String)
}

/// Takes the data of one object or part, in pieces. Used by one thread at a time.
public protocol ObjectWriter: AnyObject {
    /// Adds bytes; may wait while the backends are slower than the client.
    func write(_ bytes: UnsafeRawBufferPointer) throws(ObjectError)
    /// All bytes are there: what was written, durable, not visible yet.
    func finish() throws(ObjectError) -> any StoredData
    /// Gives up what was written. Also what happens when the writer goes without `finish`.
    func abandon()
}

/// Data that is in the store and that a version or a part can be made of. What nothing was made of is collected.
public protocol StoredData: AnyObject, Sendable {
    /// Bytes.
    var size: Int64 { get }
}

/// Reads one version. Used by one thread at a time.
public protocol ObjectReader: AnyObject {
    /// What is read.
    var version: ObjectVersion { get }
    /// Fills the buffer from `offset` on; bytes put there, 0 at the end. Reads in order are read ahead.
    func read(at offset: Int64, into buffer: UnsafeMutableRawBufferPointer) throws(ObjectError) -> Int
}
