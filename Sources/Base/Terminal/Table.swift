/// Rows under headings, as wide as what is in them.
public struct Table: Sendable {
    /// A column.
    public struct Column: Sendable {
        /// Its heading.
        public var title: String
        /// Whether it holds numbers.
        public var isRight: Bool

        /// A column.
        public init(_ title: String, right: Bool = false) { (self.title, isRight) = (title, right) }
    }

    /// Columns from left to right.
    public var columns: [Column]
    /// Rows from top to bottom, a cell a column.
    public var rows: [[String]]

    /// A table with headings of text columns.
    public init(_ titles: String..., rows: [[String]] = []) { (columns, self.rows) = (titles.map { Column($0) }, rows) }

    /// A table.
    public init(columns: [Column], rows: [[String]] = []) { (self.columns, self.rows) = (columns, rows) }

    /// The table as lines; `state` columns of one word take its colour. Control characters are shown as `?`.
    public func text(_ style: Style = .plain) -> String {
        let cells = rows.map { row in columns.indices.map { $0 < row.count ? Table.clean(row[$0]) : "" } }
        let widths = columns.indices.map { index in
            cells.reduce(Table.width(columns[index].title)) { max($0, Table.width($1[index])) }
        }
        var lines = [line(columns.map { $0.title }, widths) { style.bold($0) }]
        for row in cells {
            lines.append(line(row, widths) { style.state($0) })
        }
        return lines.joined(separator: "\n") + "\n"
    }

    private func line(_ cells: [String], _ widths: [Int], _ paint: (String) -> String) -> String {
        var text = ""
        for (index, cell) in cells.enumerated() {
            let space = String(repeating: " ", count: widths[index] - Table.width(cell))
            let isLast = index == cells.count - 1
            if columns[index].isRight {
                text += space + paint(cell)
            } else {
                text += paint(cell) + (isLast ? "" : space)
            }
            if !isLast { text += "  " }
        }
        return text
    }

    /// Columns that text takes on a terminal: wide East Asian and emoji characters take two.
    static func width(_ text: String) -> Int {
        text.unicodeScalars.reduce(0) { width, scalar in
            let value = scalar.value
            if scalar.properties.generalCategory == .nonspacingMark { return width }
            let isWide =
                (0x1100...0x115F).contains(value) || (0x2E80...0xA4CF).contains(value)
                || (0xAC00...0xD7A3).contains(value)
                || (0xF900...0xFAFF).contains(value) || (0xFE30...0xFE6F).contains(value)
                || (0xFF00...0xFF60).contains(value)
                || (0x1F300...0x1FAFF).contains(value)
            return width + (isWide ? 2 : 1)
        }
    }

    /// What others wrote must not move the cursor or change colours.
    public static func clean(_ text: String) -> String {
        String(
            String.UnicodeScalarView(text.unicodeScalars.map { $0.properties.generalCategory == .control ? "?" : $0 }))
    }
}
