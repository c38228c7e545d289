package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/alumet-hpc/alumet-hpc/jobs/report"
	"github.com/alumet-hpc/alumet-hpc/jobs/store"
)

const (
	systemDB = "/var/lib/alumet-hpc/jobs.db"
	localDB  = "alumet-jobs.db"
	envDB    = "ALUMET_JOBS_DB"
)

const dbHelp = `The books are the file that --db names, else the variable ` + envDB + `, else
` + localDB + ` in the working directory if that is a file of yours, else
` + systemDB + `.`

// output is how and from where a verb that reads the books answers.
type output struct {
	db, format string
}

func (o *output) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.db, "db", "", "file with the books (default $"+envDB+", ./"+localDB+" or "+systemDB+")")
	f.StringVar(&o.format, "format", "table", "output format: table, json or csv")
}

// document is what can be written in every format.
type document interface {
	WriteTable(w io.Writer, look report.Look) error
	WriteJSON(w io.Writer) error
	WriteCSV(w io.Writer) error
}

func (o *output) check() error {
	switch o.format {
	case "table", "json", "csv":
		return nil
	}
	return usage(fmt.Errorf("--format %q is unknown: want table, json or csv", o.format))
}

func (o *output) write(s *surroundings, d document) error {
	switch o.format {
	case "json":
		return d.WriteJSON(s.out)
	case "csv":
		return d.WriteCSV(s.out)
	}
	return d.WriteTable(s.out, lookOf(s))
}

// lookOf fits tables to where they go: to COLUMNS if that is set, else to the terminal; in a pipe nothing is left out.
func lookOf(s *surroundings) report.Look {
	look := report.Look{Zone: s.zone}
	if f, ok := s.out.(*os.File); ok {
		if size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil {
			look.Width = int(size.Col)
			look.Colour = s.getenv("NO_COLOR") == "" && s.getenv("TERM") != "dumb"
		}
	}
	if n, err := strconv.Atoi(s.getenv("COLUMNS")); err == nil && n > 0 {
		look.Width = n
	}
	return look
}

// path says which file the books are in.
func (o *output) path(s *surroundings) string {
	if o.db != "" {
		return o.db
	}
	if path := s.getenv(envDB); path != "" {
		return path
	}
	// A file that somebody else has left there could tell anything.
	if info, err := os.Lstat(localDB); err == nil && info.Mode().IsRegular() {
		if stat, ok := info.Sys().(*syscall.Stat_t); ok && int(stat.Uid) == os.Geteuid() {
			return localDB
		}
	}
	return systemDB
}

// read opens the books and hands one state of them to f.
func (o *output) read(s *surroundings, f func(v *store.View) error) error {
	path := o.path(s)
	r, err := store.OpenRead(path)
	if err != nil {
		return fmt.Errorf("%w\n%s", err, advice(err))
	}
	defer r.Close()
	v, err := r.View()
	if err != nil {
		return err
	}
	defer v.Close()
	return f(v)
}

// advice says what to do about books that cannot be opened.
func advice(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "No agent keeps books there: start alumet-agent on this node, or name its file with --db or " + envDB + "."
	case errors.Is(err, fs.ErrPermission):
		return "Only its owner and group may read it: ask your admin for membership, or run this as root."
	case errors.Is(err, store.ErrNotStore):
		return "Name the file that alumet-agent writes with --db or " + envDB + "."
	case errors.Is(err, store.ErrNewer):
		return "This is alumet-job " + version + "."
	}
	return "Is another file meant? Name it with --db or " + envDB + "."
}

// reach says how far the books reach, for an answer that is not in them.
func reach(k store.Known, path string, s *surroundings) string {
	where := path
	if k.Node != "" {
		where = k.Node + " (" + path + ")"
	}
	if k.Wall == 0 {
		return "The books of " + where + " are still empty."
	}
	at := func(ns int64) string { return time.Unix(0, ns).In(s.zone).Format("2006-01-02 15:04:05 MST") }
	if k.Jobs == 0 {
		return fmt.Sprintf("The books of %s have no job yet; last commit %s.", where, at(k.Wall))
	}
	if k.Jobs == 1 {
		return fmt.Sprintf("The books of %s have 1 record: the only job began %s; last commit %s.", where, at(k.OldestWall), at(k.Wall))
	}
	return fmt.Sprintf("The books of %s have %d records: the oldest job began %s,\nthe newest %s; last commit %s.",
		where, k.Jobs, at(k.OldestWall), at(k.NewestWall), at(k.Wall))
}
