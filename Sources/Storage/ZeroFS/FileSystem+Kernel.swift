import CFuse
import Flist
import Glibc

/// The functions that C calls, each with the file system as its context.
extension FileSystem {
    static func of(_ context: UnsafeMutableRawPointer?) -> FileSystem? {
        context.map { Unmanaged<FileSystem>.fromOpaque($0).takeUnretainedValue() }
    }

    private static func bytes(_ text: UnsafePointer<CChar>?) -> [UInt8] {
        guard let text else { return [] }
        return UnsafeRawBufferPointer(start: text, count: strlen(text)).map { $0 }
    }

    private static func put<Value>(
        _ result: Result<Value, Failure>, _ place: UnsafeMutablePointer<Value>?
    ) -> Int32 {
        switch result {
        case .success(let value):
            place?.pointee = value
            return 0
        case .failure(let failure): return failure.code
        }
    }

    /// The length, and the bytes where they fit.
    private static func put(
        _ result: Result<[UInt8], Failure>, _ place: UnsafeMutablePointer<CChar>?, _ capacity: Int
    ) -> Int64 {
        switch result {
        case .success(let bytes):
            if let place, bytes.count <= capacity {
                UnsafeMutableRawBufferPointer(start: place, count: capacity).copyBytes(from: bytes)
            }
            return Int64(bytes.count)
        case .failure(let failure): return Int64(failure.code)
        }
    }

    static var operations: zg_fuse_operations {
        var table = zg_fuse_operations()
        table.lookup = { context, parent, name, found in
            guard let system = FileSystem.of(context) else { return -EIO }
            return FileSystem.put(system.lookup(parent, FileSystem.bytes(name)), found)
        }
        table.attributes = { context, inode, found in
            guard let system = FileSystem.of(context) else { return -EIO }
            return FileSystem.put(system.attributes(inode), found)
        }
        table.readlink = { context, inode, target, capacity in
            guard let system = FileSystem.of(context) else { return -EIO }
            return Int32(truncatingIfNeeded: FileSystem.put(system.target(inode), target, capacity))
        }
        table.list = { context, inode, offset, listing in
            guard let system = FileSystem.of(context) else { return -EIO }
            return system.list(inode, offset) { name, attributes, next in
                var attributes = attributes
                return zg_fuse_listing_add(listing, name, &attributes, next) == 0
            }
        }
        table.read = { context, inode, offset, count, request in
            guard let system = FileSystem.of(context) else { return -EIO }
            return system.read(inode, offset, count) { zg_fuse_reply_read(request, $0, $0.count) }
        }
        table.get_xattr = { context, inode, name, value, capacity in
            guard let system = FileSystem.of(context) else { return -Int64(EIO) }
            return FileSystem.put(system.extendedAttribute(inode, FileSystem.bytes(name)), value, capacity)
        }
        table.list_xattr = { context, inode, names, capacity in
            guard let system = FileSystem.of(context) else { return -Int64(EIO) }
            return FileSystem.put(system.extendedAttributes(inode), names, capacity)
        }
        table.totals = { context, totals in
            guard let system = FileSystem.of(context) else { return }
            let sums = system.reader.root.totals
            totals?.pointee = zg_fuse_totals(bytes: sums.bytes, inodes: sums.files + sums.directories + sums.others)
        }
        table.initialised = { context, message, count in
            guard let system = FileSystem.of(context), let message else { return }
            system.keepGreeting(Array(UnsafeRawBufferPointer(start: message, count: count)))
        }
        return table
    }
}
