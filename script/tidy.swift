// Refuses what the formatter cannot see. Reads file names from standard input, prints `file:line: what`, ends with 1
// when there was anything. Tests may be longer than sources; the rest holds for both.
import Foundation
import SwiftParser
import SwiftSyntax

/// Limits of a function and of a file, in lines: what fits on a screen, and what one idea needs.
private enum Limits {
    static let functionLines = 70
    static let fileLines = 1000
}

private let bannedNames: Set<String> = ["Utils", "Util", "Manager", "Helper", "Helpers", "Common", "Misc"]

private final class Rules: SyntaxVisitor {
    let file: String
    let converter: SourceLocationConverter
    var findings: [(line: Int, what: String)] = []
    var isTest: Bool { file.hasPrefix("Tests/") }

    init(_ file: String, _ tree: SourceFileSyntax) {
        self.file = file
        converter = SourceLocationConverter(fileName: file, tree: tree)
        super.init(viewMode: .sourceAccurate)
    }

    func line(_ node: some SyntaxProtocol) -> Int {
        converter.location(for: node.positionAfterSkippingLeadingTrivia).line
    }
    func report(_ node: some SyntaxProtocol, _ what: String) { findings.append((line(node), what)) }

    override func visit(_ node: TryExprSyntax) -> SyntaxVisitorContinueKind {
        if node.questionOrExclamationMark?.tokenKind == .exclamationMark { report(node, "try! is not allowed") }
        return .visitChildren
    }

    override func visit(_ node: ForceUnwrapExprSyntax) -> SyntaxVisitorContinueKind {
        report(node, "forced unwrapping is not allowed")
        return .visitChildren
    }

    override func visit(_ node: AsExprSyntax) -> SyntaxVisitorContinueKind {
        if node.questionOrExclamationMark?.tokenKind == .exclamationMark { report(node, "as! is not allowed") }
        return .visitChildren
    }

    override func visit(_ node: UnresolvedAsExprSyntax) -> SyntaxVisitorContinueKind {
        if node.questionOrExclamationMark?.tokenKind == .exclamationMark { report(node, "as! is not allowed") }
        return .visitChildren
    }

    override func visit(_ node: FunctionCallExprSyntax) -> SyntaxVisitorContinueKind {
        if node.calledExpression.trimmedDescription == "fatalError" { report(node, "fatalError is not allowed") }
        return .visitChildren
    }

    override func visit(_ node: ImportDeclSyntax) -> SyntaxVisitorContinueKind {
        let module = node.path.trimmedDescription
        if module == "Foundation" || module == "FoundationNetworking" {
            report(node, "import \(module) brings 50 MB; FoundationEssentials at most")
        }
        return .visitChildren
    }

    override func visit(_ node: AttributeSyntax) -> SyntaxVisitorContinueKind {
        if node.attributeName.trimmedDescription == "unchecked" {
            let at = line(node)
            let lines = converter.sourceLines
            let near = lines[max(0, at - 4)..<min(lines.count, at)]
            if !near.contains(where: { $0.contains("//") }) {
                report(node, "@unchecked needs a comment that names the lock or loop that protects it")
            }
        }
        return .visitChildren
    }

    override func visit(_ node: FunctionDeclSyntax) -> SyntaxVisitorContinueKind {
        measure(node, node.body, "func \(node.name.text)")
        return .visitChildren
    }

    override func visit(_ node: InitializerDeclSyntax) -> SyntaxVisitorContinueKind {
        measure(node, node.body, "init")
        return .visitChildren
    }

    func measure(_ node: some SyntaxProtocol, _ body: CodeBlockSyntax?, _ name: String) {
        guard let body else { return }
        let first = line(body)
        let last = converter.location(for: body.endPositionBeforeTrailingTrivia).line
        if last - first + 1 > Limits.functionLines {
            report(node, "\(name) has \(last - first + 1) lines, \(Limits.functionLines) are allowed")
        }
    }

    override func visit(_ node: StructDeclSyntax) -> SyntaxVisitorContinueKind { named(node, node.name) }
    override func visit(_ node: ClassDeclSyntax) -> SyntaxVisitorContinueKind { named(node, node.name) }
    override func visit(_ node: EnumDeclSyntax) -> SyntaxVisitorContinueKind { named(node, node.name) }
    override func visit(_ node: ActorDeclSyntax) -> SyntaxVisitorContinueKind { named(node, node.name) }
    override func visit(_ node: ProtocolDeclSyntax) -> SyntaxVisitorContinueKind { named(node, node.name) }

    func named(_ node: some SyntaxProtocol, _ name: TokenSyntax) -> SyntaxVisitorContinueKind {
        if bannedNames.contains(where: { name.text.hasSuffix($0) }) { report(node, "\(name.text): say what it is") }
        return .visitChildren
    }
}

@main
private enum Tidy {
    static func main() {
        var count = 0
        while let file = readLine() {
            guard let data = FileManager.default.contents(atPath: file) else { continue }
            let tree = Parser.parse(source: String(decoding: data, as: UTF8.self))
            let rules = Rules(file, tree)
            rules.walk(tree)
            if rules.converter.sourceLines.count > Limits.fileLines {
                rules.findings.append((1, "more than \(Limits.fileLines) lines; split it by idea"))
            }
            for finding in rules.findings.sorted(by: { $0.line < $1.line }) {
                print("\(file):\(finding.line): \(finding.what)")
                count += 1
            }
        }
        if count > 0 {
            print("tidy: \(count) findings")
            exit(1)
        }
    }
}
