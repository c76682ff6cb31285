public import Simulation

/// Why the log refused something or could not be opened.
public enum LogError: Error, Hashable, Sendable {
    /// The disk has no space; the write did not happen and reads go on.
    case full
    /// The device takes no writes any more, because of an earlier failure.
    case readOnly
    /// A write of an epoch below the namespace's fence.
    case fenced(epoch: UInt64)
    /// IFSEQ named another sequence number than the key's.
    case conflict(sequence: UInt64)
    /// IFABSENT, and there is such a key.
    case exists
    /// The key does not exist.
    case absent
    /// The namespace would grow over its `maxsize`.
    case quota
    /// There is no such namespace.
    case noNamespace
    /// There is already such a namespace.
    case namespaceExists
    /// The name is empty, too long or has characters that names do not have.
    case badName
    /// The namespace is locked: reading only.
    case locked
    /// The namespace is frozen: neither reading nor writing.
    case frozen
    /// A sequential namespace: who sets gives an id that exists, or none to get a new one.
    case unknownId
    /// A namespace that is not fresh keeps its mode.
    case modeFixed
    /// The namespace's keys have no order that it knows.
    case notOrdered
    /// The table of a sequential namespace is damaged; it is made anew at the next start.
    case indexDamaged
    /// The namespace never changes or removes what was written.
    case worm
    /// The namespace uses something that this version does not know.
    case namespaceUnsupported
    /// A key, value or batch is over its limit.
    case tooLarge
    /// Bytes of the log do not match their checksum; nothing of them is served.
    case corrupt(segment: UInt64, offset: UInt64)
    /// A segment was written by a newer version; `features` are the required ones that are unknown here.
    case unsupported(segment: UInt64, version: UInt32, features: UInt64)
    /// A record type that this version has to understand and does not.
    case unknownRecord(segment: UInt64, offset: UInt64, type: UInt8)
    /// Both copies of the only segment's header are damaged, so that nothing in it can be verified.
    case headerDamaged(segment: UInt64)
    /// A segment belongs to another device.
    case foreign(segment: UInt64)
    /// The directory has a manifest of a name that only newer versions understand.
    case unknownFile
    /// Another device decides, and this one does not write now.
    case refused(WriteRefusal)
    /// Both copies of a change of the manifest are damaged, so that it is not known which segments count.
    case manifestDamaged
    /// This copy is not complete: what it would answer may be what never was.
    case incomplete
    /// A namespace's reservation needs more than the device has left.
    case reservationTooLarge
    /// The disk failed.
    case disk(DiskError)
}
