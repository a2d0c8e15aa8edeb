package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func TestTheGuidedTourPrintsWhatItShould(t *testing.T) {
	expected, err := os.ReadFile(filepath.Join("..", "testdata", "tour.txt"))
	if err != nil {
		t.Fatal(err)
	}
	var printed bytes.Buffer
	if err := start(t.Context(), nil, &printed); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(printed.Bytes(), expected) {
		t.Errorf("it printed\n%s", printed.String())
	}
	if err := start(t.Context(), []string{"no such file"}, &printed); err == nil {
		t.Error("a missing file went unnoticed")
	}
}

// Without cgo any platform is a matter of two variables.
func TestCrossCompiling(t *testing.T) {
	for _, platform := range [][2]string{{"windows", "amd64"}, {"linux", "arm64"}} {
		build := exec.Command("go", "build", "-o", t.TempDir(), ".")
		build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+platform[0], "GOARCH="+platform[1])
		if output, err := build.CombinedOutput(); err != nil {
			t.Errorf("%v: %v\n%s", platform, err, output)
		}
	}
}
