// swift-tools-version:5.9
import PackageDescription

let package = Package(
    name: "Rules",
    platforms: [.macOS(.v12)],
    dependencies: [.package(path: "../../../uniffi-bindings/swift")],
    targets: [.executableTarget(name: "Rules", dependencies: [.product(name: "LuaCell", package: "swift")])]
)
