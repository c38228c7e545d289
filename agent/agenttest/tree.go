// Package agenttest helps to test plugins without their hardware: it lays out the recorded files of a machine, moves
// counters, opens one plugin on them and polls it by hand, and compares points with golden files. Only tests import it.
package agenttest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// Tree lays out a recorded machine below a temporary folder and returns its root: `sys/…` and `proc/…` in the archive
// become <root>/sys and <root>/proc. A name `a -> b` makes a symbolic link a to b, and one that ends with a slash a folder.
// Files that several recordings share can be given as further archives; a later one replaces files of an earlier one.
func Tree(t testing.TB, archives ...[]byte) (root string) {
	t.Helper()
	root = t.TempDir()
	for _, a := range archives {
		Update(t, root, a)
	}
	return root
}

// Update writes the files of an archive over those of a tree, in place, so that files that are kept open show the new
// content. It is one tick of a machine's counters. A name that begins with `rm ` removes that file or folder.
func Update(t testing.TB, root string, archive []byte) {
	t.Helper()
	for _, f := range txtar.Parse(archive).Files {
		if err := place(root, f); err != nil {
			t.Fatal(err)
		}
	}
}

func place(root string, f txtar.File) error {
	if name, ok := strings.CutPrefix(f.Name, "rm "); ok {
		return os.RemoveAll(filepath.Join(root, name))
	}
	name, target, isLink := strings.Cut(f.Name, " -> ")
	path := filepath.Join(root, filepath.FromSlash(name))
	if strings.HasSuffix(name, "/") {
		return os.MkdirAll(path, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if isLink {
		return os.Symlink(target, path)
	}
	return os.WriteFile(path, f.Data, 0o644)
}

// Set writes one file of a tree in place.
func Set(t testing.TB, root, name, text string) {
	t.Helper()
	if err := place(root, txtar.File{Name: name, Data: []byte(text)}); err != nil {
		t.Fatal(err)
	}
}

// Recording reads a recorded tree of the package that is tested, such as `testdata/xeon.txtar`.
func Recording(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.FromSlash(path))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Mover returns a function that sets the number in a file of a tree without allocating, for [Probe.CheckAllocs].
func Mover(t testing.TB, root, name string) func(v uint64) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(root, name), os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	// All numbers have the same width, so that each covers the one before.
	var buf [21]byte
	buf[20] = '\n'
	return func(v uint64) {
		for i := 19; i >= 0; i-- {
			buf[i] = '0' + byte(v%10)
			v /= 10
		}
		if _, err := f.WriteAt(buf[:], 0); err != nil {
			t.Fatal(err)
		}
	}
}
