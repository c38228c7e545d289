package store

import (
	"bufio"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestReadWithoutRights reads as a user who may write neither the file nor its folder.
func TestReadWithoutRights(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(t *testing.T, path string)
		want    string
	}{
		"agent ended":       {func(t *testing.T, path string) { openAndClose(t, path) }, "<nil>"},
		"agent running":     {func(t *testing.T, path string) { recordT(t, openT(t, path), balanced(1)) }, "<nil>"},
		"copied alone":      {func(t *testing.T, path string) { openAndClose(t, path); remove(t, path+"-wal", path+"-shm") }, "<nil>"},
		"index lost":        {func(t *testing.T, path string) { recordT(t, openT(t, path+"x"), balanced(1)); moveCopy(t, path) }, "may its folder be written"},
		"killed, not ended": {func(t *testing.T, path string) { killed(t, path) }, "<nil>"},
		"forbidden":         {func(t *testing.T, path string) { openAndClose(t, path); chmod(t, 0o600, path) }, "file of mode -rw-------: permission denied"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "jobs.db")
			c.prepare(t, path)
			files, _ := filepath.Glob(path + "*")
			for _, f := range files {
				if fileMode(t, f) == 0o640 {
					chmod(t, 0o644, f)
				}
			}
			chmod(t, 0o755, filepath.Dir(dir), dir)
			out := readAsNobody(t, path)
			if !strings.Contains(out, c.want) {
				t.Errorf("read says %q, want %q", out, c.want)
			}
		})
	}
}

// moveCopy leaves at path what a copy without the index does: a file and a log that only a writer can bring together.
func moveCopy(t *testing.T, path string) {
	t.Helper()
	from := copyFiles(t, path+"x", math.MaxInt)
	for _, end := range []string{"", "-wal"} {
		if err := os.Rename(from+end, path+end); err != nil {
			t.Fatal(err)
		}
	}
}

// killed leaves at path what a killed agent does.
func killed(t *testing.T, path string) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), envWrite+"="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	bufio.NewScanner(out).Scan()
	cmd.Process.Kill()
	cmd.Wait()
}

func remove(t *testing.T, paths ...string) {
	t.Helper()
	for _, p := range paths {
		if err := os.Remove(p); err != nil {
			t.Fatal(err)
		}
	}
}

func chmod(t *testing.T, mode fs.FileMode, paths ...string) {
	t.Helper()
	for _, p := range paths {
		if err := os.Chmod(p, mode); err != nil {
			t.Fatal(err)
		}
	}
}

func fileMode(t *testing.T, path string) fs.FileMode {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().Perm()
}

// readAsNobody reads the store in another process: as another user where this one may become it, else in a folder that
// it has taken its own rights from.
func readAsNobody(t *testing.T, path string) string {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), envRead+"="+path)
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	} else {
		files, _ := filepath.Glob(path + "*")
		for _, f := range files {
			chmod(t, fileMode(t, f)>>3&0o444, f)
		}
		chmod(t, 0o555, filepath.Dir(path))
		t.Cleanup(func() { chmod(t, 0o755, filepath.Dir(path)) })
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}
