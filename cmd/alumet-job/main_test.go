package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/alumet-hpc/alumet-hpc/jobs"
	"github.com/alumet-hpc/alumet-hpc/jobs/store"
)

var update = flag.Bool("update", false, "rewrite the expected outputs in testdata/script")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"alumet-job": func() { os.Exit(run(os.Args[1:], atTestTime())) },
		"fill":       fill,
	})
}

// atTestTime is the world of a script: its clock stands where NOW says, in Unix seconds.
func atTestTime() surroundings {
	s := surroundings{in: os.Stdin, out: os.Stdout, err: os.Stderr, getenv: os.Getenv, now: time.Now, zone: time.UTC}
	if n, err := strconv.ParseInt(os.Getenv("NOW"), 10, 64); err == nil {
		s.now = func() time.Time { return time.Unix(n, 0) }
	}
	return s
}

// fill records books in a store, as an agent would: fill FILE RECORD.json…
func fill() {
	err := func() error {
		s, err := store.Open(os.Args[1])
		if err != nil {
			return err
		}
		if err := s.SetNode("node7", "grenoble"); err != nil {
			return err
		}
		for _, name := range os.Args[2:] {
			b, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			var r jobs.Record
			if err := json.Unmarshal(b, &r); err != nil {
				return err
			}
			if err := s.Record(&r); err != nil {
				return err
			}
		}
		return s.Close()
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// code runs alumet-job and expects an exit code: code 3 report 99
func code(ts *testscript.TestScript, _ bool, args []string) {
	err := ts.Exec("alumet-job", args[1:]...)
	got := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if strconv.Itoa(got) != args[0] {
		ts.Fatalf("exit code %d, want %s", got, args[0])
	}
}

func TestScripts(t *testing.T) {
	books, err := filepath.Abs(filepath.Join("testdata", "books"))
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		UpdateScripts:       *update,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"code": code},
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("BOOKS", books)
			e.Setenv("TZ", "UTC")
			return nil
		},
	})
}
