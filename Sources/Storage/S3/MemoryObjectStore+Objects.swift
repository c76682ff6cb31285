public import Objects

extension MemoryObjectStore.Contents {
    /// Where a key stands, or would.
    func place(_ key: ObjectKey) -> Int {
        var low = 0, high = keys.count
        while low < high {
            let middle = (low + high) / 2
            if keys[middle] < key { low = middle + 1 } else { high = middle }
        }
        return low
    }
    mutating func insert(_ version: MemoryObjectStore.Version) {
        let key = version.value.key
        if versions[key] == nil { keys.insert(key, at: place(key)) }
        var list = versions[key] ?? []
        // There is one null version.
        if version.value.id == .null { list.removeAll { $0.value.id == .null } }
        list.insert(version, at: 0)
        set(key, list)
    }
    mutating func set(_ key: ObjectKey, _ list: [MemoryObjectStore.Version]) {
        if list.isEmpty {
            versions[key] = nil
            let place = place(key)
            if place < keys.count, keys[place] == key { keys.remove(at: place) }
            return
        }
        versions[key] = list.enumerated().map { index, version in
            var version = version
            version.value = version.value.with(isLatest: index == 0)
            return version
        }
    }
    func find(_ key: ObjectKey, _ id: VersionID?) throws(ObjectError) -> MemoryObjectStore.Version {
        let list = versions[key] ?? []
        guard let id else {
            guard let first = list.first else { throw .noSuchKey(key) }
            if first.value.isDeleteMarker { throw .deleteMarker(key, first.value.id, asked: false) }
            return first
        }
        guard let found = list.first(where: { $0.value.id == id }) else { throw .noSuchVersion(key, id) }
        if found.value.isDeleteMarker { throw .deleteMarker(key, id, asked: true) }
        return found
    }
}

extension ObjectVersion {
    func with(isLatest: Bool) -> ObjectVersion {
        ObjectVersion(
            key: key, id: id, sequence: sequence, isLatest: isLatest, isDeleteMarker: isDeleteMarker, size: size,
            etag: etag, modified: modified, attributes: attributes, parts: parts)
    }
}

extension MemoryObjectStore {
    /// Begins to take data.
    public func write(customerKey: [UInt8]?) throws(ObjectError) -> any ObjectWriter { MemoryWriter(customerKey) }

    private func make(
        _ contents: inout Contents, _ state: inout State, _ key: ObjectKey, _ data: [MemoryBlock], etag: String,
        attributes: [String: String], parts: [ObjectPart], customerKey: [UInt8]?, isDeleteMarker: Bool = false
    ) -> ObjectVersion {
        let sequence = state.next()
        let version = ObjectVersion(
            key: key, id: contents.bucket.versioning == .enabled ? .number(sequence) : .null, sequence: sequence,
            isLatest: true, isDeleteMarker: isDeleteMarker, size: data.reduce(0) { $0 + Int64($1.count) }, etag: etag,
            modified: now, attributes: attributes, parts: parts)
        contents.insert(Version(value: version, data: data, customerKey: customerKey))
        return version
    }

    /// Makes a new newest version.
    public func put(
        _ bucket: String, _ key: ObjectKey, _ data: any StoredData, etag: String, attributes: [String: String],
        check: Check
    ) throws(ObjectError) -> ObjectVersion {
        guard let data = data as? MemoryData else { throw .refused("data of another store") }
        return try with(bucket) { contents, state throws(ObjectError) in
            try check(contents.versions[key]?.first?.value)
            return make(
                &contents, &state, key, data.blocks, etag: etag, attributes: attributes, parts: [],
                customerKey: data.customerKey)
        }
    }
    /// The data of a version, shared.
    public func data(_ bucket: String, _ key: ObjectKey, _ version: VersionID?, customerKey: [UInt8]?)
        throws(ObjectError) -> any StoredData
    {
        let found = try find(bucket, key, version, customerKey)
        return MemoryData(found.data, customerKey: customerKey)
    }
    /// The newest version, or this one.
    public func version(_ bucket: String, _ key: ObjectKey, _ version: VersionID?) throws(ObjectError) -> ObjectVersion
    {
        try with(bucket) { contents, _ throws(ObjectError) in try contents.find(key, version).value }
    }
    private func find(_ bucket: String, _ key: ObjectKey, _ version: VersionID?, _ customerKey: [UInt8]?)
        throws(ObjectError) -> Version
    {
        let found = try with(bucket) { contents, _ throws(ObjectError) in try contents.find(key, version) }
        if found.customerKey != customerKey { throw .wrongKey(key) }
        return found
    }
    /// Opens a version for reading.
    public func open(_ bucket: String, _ key: ObjectKey, _ version: VersionID?, customerKey: [UInt8]?)
        throws(ObjectError) -> any ObjectReader
    {
        let found = try find(bucket, key, version, customerKey)
        return MemoryReader(found.value, found.data)
    }
    /// Changes attributes in place.
    public func setAttributes(
        _ bucket: String, _ key: ObjectKey, _ version: VersionID?, _ change: [String: String?], check: Check
    ) throws(ObjectError) -> ObjectVersion {
        try with(bucket) { contents, _ throws(ObjectError) in
            var found = try contents.find(key, version)
            try check(found.value)
            for (name, value) in change { found.value.attributes[name] = value }
            var list = contents.versions[key] ?? []
            if let index = list.firstIndex(where: { $0.value.id == found.value.id }) { list[index] = found }
            contents.set(key, list)
            return found.value
        }
    }
    /// Deletes a key or a version.
    public func delete(_ bucket: String, _ key: ObjectKey, _ version: VersionID?, owner: String, check: Check)
        throws(ObjectError) -> ObjectVersion?
    {
        try with(bucket) { contents, state throws(ObjectError) in
            var list = contents.versions[key] ?? []
            if let version {
                guard let index = list.firstIndex(where: { $0.value.id == version }) else {
                    try check(nil)
                    return nil
                }
                try check(list[index].value)
                let removed = list.remove(at: index)
                contents.set(key, list)
                return removed.value
            }
            try check(list.first?.value)
            if contents.bucket.versioning == .off {
                contents.set(key, [])
                return list.first?.value
            }
            return make(
                &contents, &state, key, [], etag: "", attributes: [Attribute.owner: owner], parts: [], customerKey: nil,
                isDeleteMarker: true)
        }
    }

    // Uploads in parts

    /// Begins an upload.
    public func createUpload(_ bucket: String, _ key: ObjectKey, attributes: [String: String], customerKey: [UInt8]?)
        throws(ObjectError) -> Upload
    {
        try with(bucket) { contents, state throws(ObjectError) in
            let id = VersionID.number(state.next()).description
            let upload = Upload(id: id, key: key, started: now, attributes: attributes)
            contents.uploads[id] = Pending(upload: upload, customerKey: customerKey)
            return upload
        }
    }
    private func pending(_ contents: Contents, _ key: ObjectKey, _ id: String) throws(ObjectError) -> Pending {
        guard let found = contents.uploads[id], found.upload.key == key else { throw .noSuchUpload(id) }
        return found
    }
    /// The upload.
    public func upload(_ bucket: String, _ key: ObjectKey, _ id: String) throws(ObjectError) -> Upload {
        try with(bucket) { contents, _ throws(ObjectError) in try pending(contents, key, id).upload }
    }
    /// Adds or replaces a part.
    public func putPart(
        _ bucket: String, _ key: ObjectKey, _ upload: String, number: Int, _ data: any StoredData, etag: String,
        attributes: [String: String]
    ) throws(ObjectError) -> ObjectPart {
        guard let data = data as? MemoryData else { throw .refused("data of another store") }
        return try with(bucket) { contents, _ throws(ObjectError) in
            _ = try pending(contents, key, upload)
            let part = ObjectPart(number: number, size: data.size, etag: etag, modified: now, attributes: attributes)
            contents.uploads[upload]?.parts[number] = (part, data.blocks)
            return part
        }
    }
    /// Parts in order.
    public func parts(_ bucket: String, _ key: ObjectKey, _ upload: String, after: Int, limit: Int)
        throws(ObjectError) -> [ObjectPart]
    {
        try with(bucket) { contents, _ throws(ObjectError) in
            let all = try pending(contents, key, upload).parts.values.map(\.part).filter { $0.number > after }
            return Array(all.sorted { $0.number < $1.number }.prefix(limit))
        }
    }
    /// Makes a version of parts.
    public func complete(
        _ bucket: String, _ key: ObjectKey, _ upload: String, parts: [(number: Int, etag: String)], etag: String,
        attributes: [String: String], check: Check
    ) throws(ObjectError) -> ObjectVersion {
        try with(bucket) { contents, state throws(ObjectError) in
            let found = try pending(contents, key, upload)
            var blocks: [MemoryBlock] = []
            var taken: [ObjectPart] = []
            for (number, etag) in parts {
                guard let part = found.parts[number], part.part.etag == etag else { throw .invalidPart(number) }
                blocks += part.data
                taken.append(part.part)
            }
            try check(contents.versions[key]?.first?.value)
            contents.uploads[upload] = nil
            return make(
                &contents, &state, key, blocks, etag: etag, attributes: attributes, parts: taken,
                customerKey: found.customerKey)
        }
    }
    /// Drops an upload.
    public func abort(_ bucket: String, _ key: ObjectKey, _ upload: String) throws(ObjectError) {
        try with(bucket) { contents, _ throws(ObjectError) in
            _ = try pending(contents, key, upload)
            contents.uploads[upload] = nil
        }
    }
}
