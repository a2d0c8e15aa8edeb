// swift-tools-version:5.9
import PackageDescription

let package = Package(
    name: "Figures",
    platforms: [.macOS(.v13)],
    dependencies: [.package(path: "..")],
    targets: [.executableTarget(name: "Figures", dependencies: [.product(name: "LuaCell", package: "swift")])]
)
