/// What is wrong with a unit file or with a value that it asks for.
public struct UnitError: Error, Sendable, Hashable, CustomStringConvertible {
    /// The file or unit.
    public let subject: String
    /// The line, from 1; nil where no single line is to blame.
    public let line: Int?
    /// A sentence.
    public let message: String

    init(_ subject: String, line: Int? = nil, _ message: String) {
        (self.subject, self.line, self.message) = (subject, line, message)
    }

    /// `subject:line: message`.
    public var description: String { subject + (line.map { ":\($0)" } ?? "") + ": " + message }
}
