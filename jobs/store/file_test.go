package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

// script runs SQL on a file, as the sqlite3 shell would.
func script(t *testing.T, path, text string) {
	t.Helper()
	db, err := openRaw(path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(text); err != nil {
		t.Fatal(err)
	}
}

func TestFilesThatAreNoStore(t *testing.T) {
	for name, c := range map[string]struct {
		make func(t *testing.T, path string)
		is   error
		says string
	}{
		"text":     {func(t *testing.T, path string) { write(t, path, strings.Repeat("no database\n", 100)) }, ErrNotStore, "not an SQLite file"},
		"short":    {func(t *testing.T, path string) { write(t, path, "x") }, ErrNotStore, "not an SQLite file"},
		"another":  {func(t *testing.T, path string) { script(t, path, `CREATE TABLE places (url)`) }, ErrNotStore, "of another program"},
		"marked":   {func(t *testing.T, path string) { script(t, path, `PRAGMA application_id = 5`) }, ErrNotStore, "of another program"},
		"newer":    {func(t *testing.T, path string) { openAndClose(t, path); script(t, path, `PRAGMA user_version = 999`) }, ErrNewer, "schema 999, this program knows up to"},
		"a folder": {func(t *testing.T, path string) { mkdir(t, path) }, ErrNotStore, "not a file"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "jobs.db")
			c.make(t, path)
			before, _ := os.ReadFile(path)
			_, errRead := OpenRead(path)
			_, errWrite := Open(path)
			for _, err := range []error{errRead, errWrite} {
				if !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) || !strings.HasPrefix(err.Error(), "open store "+path+": ") {
					t.Errorf("error %v, want %q", err, c.says)
				}
			}
			if after, _ := os.ReadFile(path); string(after) != string(before) {
				t.Error("the file was changed")
			}
		})
	}
}

func TestMissingFile(t *testing.T) {
	_, err := OpenRead(filepath.Join(t.TempDir(), "none", "jobs.db"))
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
	empty := filepath.Join(t.TempDir(), "jobs.db")
	write(t, empty, "")
	if _, err := OpenRead(empty); !errors.Is(err, ErrNotStore) || !strings.Contains(err.Error(), "it is empty") {
		t.Errorf("error %v", err)
	}
	openAndClose(t, empty) // an empty file becomes a store
}

func TestOddNames(t *testing.T) {
	for _, name := range []string{"a b.db", "50%.db", "what?.db", "#1.db", "näme&mode=ro.db"} {
		path := filepath.Join(t.TempDir(), name)
		recordT(t, openT(t, path), balanced(1))
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
		viewT(t, path)
	}
}

func TestRelativeNames(t *testing.T) {
	t.Chdir(t.TempDir())
	recordT(t, openT(t, "jobs.db"), balanced(1))
	viewT(t, "jobs.db")
}

func TestFolderThatCannotBeMade(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, "")
	if _, err := Open(filepath.Join(file, "jobs.db")); err == nil || !strings.Contains(err.Error(), "not a directory") {
		t.Errorf("error %v", err)
	}
}

func TestMigrateOlderFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "jobs.db")
	openAndClose(t, path)
	set, err := migrations()
	if err != nil {
		t.Fatal(err)
	}
	s := openT(t, path)
	next := append(set, `ALTER TABLE job ADD COLUMN carbon INTEGER NOT NULL DEFAULT 7;`, `CREATE TABLE more (x); INSERT INTO more SELECT carbon FROM job;`)
	if err := migrate(t.Context(), s.conn, next); err != nil {
		t.Fatal(err)
	}
	var version, x int
	if err := s.conn.QueryRowContext(t.Context(), `SELECT user_version, (SELECT sum(x) FROM more) FROM pragma_user_version`).Scan(&version, &x); err != nil {
		t.Fatal(err)
	}
	if version != len(set)+2 || x != 7 {
		t.Errorf("version %d, sum %d", version, x)
	}
}

func TestMigrationThatFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "jobs.db")
	openAndClose(t, path)
	s := openT(t, path)
	set, err := migrations()
	if err != nil {
		t.Fatal(err)
	}
	err = migrate(t.Context(), s.conn, append(set, `DROP TABLE job; SELECT nonsense;`))
	if err == nil || !strings.Contains(err.Error(), "migrate to schema") {
		t.Errorf("error %v", err)
	}
	recordT(t, s, balanced(2)) // the table is still there, and no transaction is open
	if version, err := identify(t.Context(), s.conn); version != len(set) || err != nil {
		t.Errorf("version %d, %v", version, err)
	}
}

func TestReaderOfOlderFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "jobs.db")
	script(t, path, `PRAGMA application_id = 0x616c756d; CREATE TABLE books (id)`)
	if _, err := OpenRead(path); !errors.Is(err, ErrNotStore) {
		t.Errorf("error %v", err)
	}
}

func TestMigrationNumbers(t *testing.T) {
	for want, names := range map[string][]string{
		"migration 0003_x.sql: want number 0002": {"0001_a.sql", "0003_x.sql"},
		"migration first.sql: want number 0001":  {"first.sql"},
	} {
		files := fstest.MapFS{}
		for _, n := range names {
			files["m/"+n] = &fstest.MapFile{}
		}
		if _, err := readMigrations(files, "m"); err == nil || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
	}
}

func TestCPUs(t *testing.T) {
	for text, list := range map[string][]int{"": nil, "0": {0}, "0-3,8": {0, 1, 2, 3, 8}, "1,3,5-6": {1, 3, 5, 6}} {
		if got := formatCPUs(list); got != text {
			t.Errorf("formatCPUs(%v) = %s", list, got)
		}
		if got, err := parseCPUs(text); err != nil || len(got) != len(list) {
			t.Errorf("parseCPUs(%s) = %v, %v", text, got, err)
		}
	}
	if _, err := parseCPUs("1-x"); err == nil {
		t.Error("1-x was read")
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
}

func mkdir(t *testing.T, path string) {
	t.Helper()
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
}
