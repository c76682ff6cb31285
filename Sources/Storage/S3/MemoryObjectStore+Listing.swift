public import Objects

extension ListQuery {
    /// The common prefix that a key is joined into.
    func common(_ key: [UInt8]) -> [UInt8]? {
        if delimiter.isEmpty { return nil }
        var index = prefix.count
        while index + delimiter.count <= key.count {
            if key[index..<index + delimiter.count].elementsEqual(delimiter) {
                return Array(key[..<(index + delimiter.count)])
            }
            index += 1
        }
        return nil
    }
    /// Whether a key lies behind the mark; `tie` where it is the mark itself.
    func isAfter(_ key: [UInt8], tie: Bool) -> Bool {
        guard let after else { return true }
        if key == after.bytes { return tie }
        // A common prefix as mark skips all that it begins.
        if !delimiter.isEmpty, after.bytes.count > prefix.count, after.bytes.ends(with: delimiter),
            key.starts(with: after.bytes)
        {
            return false
        }
        return after.bytes.lexicographicallyPrecedes(key)
    }
}

extension Array where Element == UInt8 {
    fileprivate func ends(with tail: [UInt8]) -> Bool { suffix(tail.count).elementsEqual(tail) }
}

extension ListPage {
    /// Adds an entry or its common prefix; false when the page is full.
    fileprivate mutating func add(_ entry: Entry, _ key: [UInt8], _ query: ListQuery) -> Bool {
        let common = query.common(key)
        if let common, prefixes.last == common { return true }
        if entries.count + prefixes.count >= query.limit {
            isTruncated = true
            return false
        }
        if let common { prefixes.append(common) } else { entries.append(entry) }
        return true
    }
}

extension MemoryObjectStore {
    /// Newest versions that are no delete markers.
    public func list(_ bucket: String, _ query: ListQuery) throws(ObjectError) -> ListPage<ObjectVersion> {
        try with(bucket) { contents, _ throws(ObjectError) in
            var page = ListPage<ObjectVersion>()
            for key in contents.keys[contents.place(ObjectKey(query.prefix))...] {
                guard key.bytes.starts(with: query.prefix) else { break }
                guard query.isAfter(key.bytes, tie: false), let version = contents.versions[key]?.first?.value,
                    !version.isDeleteMarker
                else { continue }
                if !page.add(version, key.bytes, query) { break }
            }
            return page
        }
    }
    /// All versions and delete markers.
    public func listVersions(_ bucket: String, _ query: ListQuery) throws(ObjectError) -> ListPage<ObjectVersion> {
        try with(bucket) { contents, _ throws(ObjectError) in
            var page = ListPage<ObjectVersion>()
            for key in contents.keys[contents.place(ObjectKey(query.prefix))...] {
                guard key.bytes.starts(with: query.prefix) else { break }
                var isOlder = query.after != key
                for version in contents.versions[key] ?? [] {
                    if !isOlder {
                        isOlder = version.value.id == query.afterVersion
                        continue
                    }
                    guard query.isAfter(key.bytes, tie: true) else { continue }
                    if !page.add(version.value, key.bytes, query) { return page }
                }
            }
            return page
        }
    }
    /// Uploads that are not complete.
    public func listUploads(_ bucket: String, _ query: ListQuery) throws(ObjectError) -> ListPage<Upload> {
        try with(bucket) { contents, _ throws(ObjectError) in
            var page = ListPage<Upload>()
            let all = contents.uploads.values.map(\.upload).filter { $0.key.bytes.starts(with: query.prefix) }
            for upload in all.sorted(by: { ($0.key, $0.id) < ($1.key, $1.id) }) {
                let isLater = query.afterUpload.map { upload.id > $0 } ?? false
                guard query.isAfter(upload.key.bytes, tie: isLater) else { continue }
                if !page.add(upload, upload.key.bytes, query) { break }
            }
            return page
        }
    }
}
