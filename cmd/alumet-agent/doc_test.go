package main

import (
	"cmp"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// docFinding is one place that breaks a house rule, with what to do about it.
type docFinding struct {
	at       token.Position
	what, do string
}

func (f docFinding) String() string {
	return fmt.Sprintf("%s:%d: %s: %s", f.at.Filename, f.at.Line, f.what, f.do)
}

// docCheck looks for one kind of finding in the non-test files of one package.
type docCheck func(fset *token.FileSet, files []*ast.File) []docFinding

var docChecks = map[string]docCheck{
	"package comment":   checkPackageComment,
	"exported comments": checkExportedComments,
	"no init":           checkInit,
	"no global state":   checkGlobalState,
	"sizes":             checkSizes,
	"names":             checkNames,
	"unfinished":        checkUnfinished,
}

func checkPackageComment(fset *token.FileSet, files []*ast.File) []docFinding {
	for _, f := range files {
		if f.Doc.Text() != "" {
			return nil
		}
	}
	return []docFinding{{fset.Position(files[0].Package), "package " + files[0].Name.Name + " has no comment",
		"say above the package clause of its main file what it is for"}}
}

func checkExportedComments(fset *token.FileSet, files []*ast.File) []docFinding {
	var out []docFinding
	undocumented := func(name *ast.Ident, docs ...*ast.CommentGroup) {
		if !name.IsExported() || slices.ContainsFunc(docs, func(d *ast.CommentGroup) bool { return d.Text() != "" }) {
			return
		}
		out = append(out, docFinding{fset.Position(name.Pos()), name.Name + " has no comment",
			"give its meaning, and units, ownership and errors where it has them"})
	}
	for _, f := range files {
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if r := docReceiver(d); r == "" || ast.IsExported(r) {
					undocumented(d.Name, d.Doc)
				}
			case *ast.GenDecl:
				for _, s := range d.Specs {
					switch s := s.(type) {
					case *ast.TypeSpec:
						undocumented(s.Name, s.Doc, s.Comment, loneDoc(d))
					case *ast.ValueSpec:
						for _, n := range s.Names {
							undocumented(n, s.Doc, s.Comment, d.Doc)
						}
					}
				}
			}
		}
	}
	return out
}

// loneDoc is the comment of a declaration without parentheses; that of a group does not describe each type in it.
func loneDoc(d *ast.GenDecl) *ast.CommentGroup {
	if d.Lparen.IsValid() {
		return nil
	}
	return d.Doc
}

// docReceiver returns the name of the type that a method belongs to, and "" for a function.
func docReceiver(d *ast.FuncDecl) string {
	if d.Recv == nil {
		return ""
	}
	switch t := docRoot(d.Recv.List[0].Type).(type) {
	case *ast.Ident:
		return t.Name
	default:
		return ""
	}
}

// docRoot strips pointers, indices, selectors and parentheses: x for (*x).f[i].
func docRoot(e ast.Expr) ast.Expr {
	for {
		switch x := e.(type) {
		case *ast.StarExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.IndexListExpr:
			e = x.X
		case *ast.SliceExpr:
			e = x.X
		case *ast.SelectorExpr:
			e = x.X
		default:
			return e
		}
	}
}

func checkInit(fset *token.FileSet, files []*ast.File) []docFinding {
	var out []docFinding
	for _, f := range files {
		for _, d := range f.Decls {
			if d, ok := d.(*ast.FuncDecl); ok && d.Recv == nil && d.Name.Name == "init" {
				out = append(out, docFinding{fset.Position(d.Pos()), "func init", "do it in a constructor that main calls"})
			}
		}
	}
	return out
}

// checkGlobalState allows at package level only what nobody can change: error values, interface guards, embedded
// files, compiled patterns, tables that the package never assigns to, and the version that the linker writes.
func checkGlobalState(fset *token.FileSet, files []*ast.File) []docFinding {
	var out []docFinding
	tables := map[*ast.Ident]bool{}
	for _, f := range files {
		for _, d := range f.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.VAR {
				continue
			}
			for _, s := range g.Specs {
				s := s.(*ast.ValueSpec)
				embedded := isEmbedded(g.Doc) || isEmbedded(s.Doc)
				for i, n := range s.Names {
					if i < len(s.Values) && (isConstant(n, s.Values[i]) || isTestFlag(f, s.Values[i])) ||
						n.Name == "_" || embedded || isVersion(f, n) {
						tables[n] = true
						continue
					}
					out = append(out, docFinding{fset.Position(n.Pos()), "var " + n.Name + " is package-level state",
						"make it a constant, a function, or a field of what owns it"})
				}
			}
		}
	}
	return append(out, findWrites(fset, files, tables)...)
}

func isEmbedded(doc *ast.CommentGroup) bool {
	return doc != nil && slices.ContainsFunc(doc.List, func(c *ast.Comment) bool { return strings.HasPrefix(c.Text, "//go:embed ") })
}

// isVersion allows `var version = "…"` of a program, which -ldflags "-X main.version=…" replaces.
func isVersion(f *ast.File, n *ast.Ident) bool { return f.Name.Name == "main" && n.Name == "version" }

// isTestFlag allows flags in agenttest: they have to exist before a test starts, and no program links it.
func isTestFlag(f *ast.File, v ast.Expr) bool {
	c, ok := v.(*ast.CallExpr)
	return ok && f.Name.Name == "agenttest" && strings.HasPrefix(types.ExprString(c.Fun), "flag.")
}

// isConstant tells whether v is a value that is not meant to change, as far as its form shows.
func isConstant(name *ast.Ident, v ast.Expr) bool {
	switch v := v.(type) {
	case *ast.CompositeLit:
		switch t := v.Type.(type) {
		case *ast.SelectorExpr: // a lock or an atomic is there to change
			p, ok := t.X.(*ast.Ident)
			return !ok || p.Name != "sync" && p.Name != "atomic" && p.Name != "bytes" && p.Name != "strings"
		case *ast.MapType: // an empty one is there to be filled
			return len(v.Elts) > 0
		case *ast.ArrayType:
			return len(v.Elts) > 0
		}
		return true
	case *ast.CallExpr:
		switch f := v.Fun.(type) {
		case *ast.SelectorExpr:
			return slices.Contains([]string{"errors.New", "fmt.Errorf", "regexp.MustCompile", "strings.NewReplacer", "time.Date"}, types.ExprString(f))
		case *ast.ArrayType: // []byte("…")
			return true
		}
	case *ast.SelectorExpr: // var ErrGone = agent.ErrGone
		return strings.HasPrefix(name.Name, "Err") && strings.HasPrefix(v.Sel.Name, "Err")
	}
	return false
}

// noImports lets go/types resolve the names of one package without its imports.
type noImports struct{}

func (noImports) Import(string) (*types.Package, error) { return nil, errors.New("not imported") }

// findWrites reports assignments to the given package-level variables, or into what they hold.
func findWrites(fset *token.FileSet, files []*ast.File, tables map[*ast.Ident]bool) []docFinding {
	info := types.Info{Defs: map[*ast.Ident]types.Object{}, Uses: map[*ast.Ident]types.Object{}}
	conf := types.Config{Importer: noImports{}, FakeImportC: true, Error: func(error) {}} // only names matter here
	_, _ = conf.Check(files[0].Name.Name, fset, files, &info)
	fixed := map[types.Object]bool{}
	for n := range tables {
		if o := info.Defs[n]; o != nil {
			fixed[o] = true
		}
	}
	var out []docFinding
	written := func(e ast.Expr) {
		if n, ok := docRoot(e).(*ast.Ident); ok && fixed[info.Uses[n]] {
			out = append(out, docFinding{fset.Position(e.Pos()), "package-level " + n.Name + " is changed here",
				"keep what changes in a field of what owns it"})
		}
	}
	inspect := func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			if n.Tok != token.DEFINE {
				for _, e := range n.Lhs {
					written(e)
				}
			}
		case *ast.IncDecStmt:
			written(n.X)
		case *ast.RangeStmt:
			if n.Tok == token.ASSIGN {
				written(n.Key)
				written(n.Value)
			}
		case *ast.CallExpr:
			if f, ok := n.Fun.(*ast.Ident); ok && len(n.Args) > 0 && (f.Name == "delete" || f.Name == "clear" || f.Name == "copy") {
				written(n.Args[0])
			}
		}
		return true
	}
	for _, f := range files {
		ast.Inspect(f, inspect)
	}
	return out
}

const (
	docFileLines = 600
	docFuncLines = 80
)

func checkSizes(fset *token.FileSet, files []*ast.File) []docFinding {
	var out []docFinding
	for _, f := range files {
		if n := fset.File(f.Package).LineCount(); n > docFileLines {
			out = append(out, docFinding{fset.Position(f.Package), fmt.Sprintf("file of %d lines", n),
				fmt.Sprintf("split it by subject, at most %d lines each", docFileLines)})
		}
		for _, d := range f.Decls {
			d, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if n := fset.Position(d.End()).Line - fset.Position(d.Pos()).Line + 1; n > docFuncLines {
				out = append(out, docFinding{fset.Position(d.Pos()), fmt.Sprintf("func %s of %d lines", d.Name.Name, n),
					fmt.Sprintf("give its parts names of their own, at most %d lines each", docFuncLines)})
			}
		}
	}
	return out
}

// docBadName is what a drawer for everything is called.
var docBadName = regexp.MustCompile(`^(utils?|commons?|helpers?|types|managers?|misc)$`)

func checkNames(fset *token.FileSet, files []*ast.File) []docFinding {
	var out []docFinding
	for _, f := range files {
		at := fset.Position(f.Package)
		if base := strings.TrimSuffix(path.Base(at.Filename), ".go"); docBadName.MatchString(base) {
			out = append(out, docFinding{at, "file " + base + ".go", "name it by the thing that it holds"})
		}
		if docBadName.MatchString(f.Name.Name) {
			out = append(out, docFinding{at, "package " + f.Name.Name, "name it by what it provides"})
		}
	}
	return out
}

var docUnfinished = regexp.MustCompile(`\b(TODO|FIXME|XXX)\b`)

func checkUnfinished(fset *token.FileSet, files []*ast.File) []docFinding {
	var out []docFinding
	for _, f := range files {
		for _, g := range f.Comments {
			for _, c := range g.List {
				if w := docUnfinished.FindString(c.Text); w != "" {
					out = append(out, docFinding{fset.Position(c.Pos()), w, "do it, or open an issue and say what is true now"})
				}
			}
		}
	}
	return out
}

// parseModule parses the non-test Go files below dir, by folder and package. Positions are relative to dir.
func parseModule(fset *token.FileSet, dir fs.FS) (map[string][]*ast.File, error) {
	packages := map[string][]*ast.File{}
	err := fs.WalkDir(dir, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := d.Name()
		if d.IsDir() {
			if name != "." && (strings.ContainsAny(base[:1], "._") || base == "testdata" || base == "vendor") {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(base, ".go") || strings.HasSuffix(base, "_test.go") {
			return nil
		}
		src, err := fs.ReadFile(dir, name)
		if err != nil {
			return err
		}
		f, err := parser.ParseFile(fset, name, src, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		key := path.Dir(name) + " " + f.Name.Name
		packages[key] = append(packages[key], f)
		return nil
	})
	return packages, err
}

// docFindings runs all checks over all packages and sorts what they find by place.
func docFindings(fset *token.FileSet, packages map[string][]*ast.File) []docFinding {
	var out []docFinding
	for _, files := range packages {
		for _, check := range docChecks {
			out = append(out, check(fset, files)...)
		}
	}
	slices.SortFunc(out, func(a, b docFinding) int {
		return cmp.Or(cmp.Compare(a.at.Filename, b.at.Filename), a.at.Line-b.at.Line, cmp.Compare(a.what, b.what))
	})
	return out
}

// TestDocumentation holds every package of the module to the house rules of CONTRIBUTING.md that a program can see.
func TestDocumentation(t *testing.T) {
	fset := token.NewFileSet()
	packages, err := parseModule(fset, os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	if packages["agent agent"] == nil {
		t.Fatal("package agent was not found: the test sees nothing")
	}
	for _, f := range docFindings(fset, packages) {
		t.Error(f)
	}
}

// docCases are sources with what must be found in them, `line: what`, in the order of lines; nothing where want is empty.
var docCases = []struct{ name, src, want string }{
	{"documented", "// Package p is.\npackage p\n\n// F is.\nfunc F() {}\n\nfunc f() {}\n", ""},
	{"package without comment", "package p\n", "1: package p has no comment"},
	{"directive is no comment", "//go:build linux\n\npackage p\n", "3: package p has no comment"},
	{"func without comment", docHead + "func F() {}\n", "3: F has no comment"},
	{"directive above func", docHead + "//go:noinline\nfunc F() {}\n", "4: F has no comment"},
	{"method", docHead + "type t int\n\n// T is.\ntype T[K any] int\nfunc (t) M() {}\nfunc (x *T[K]) M() {}\n", "8: M has no comment"},
	{"type", docHead + "type T int\n", "3: T has no comment"},
	{"types in a group", docHead + "// These are.\ntype (\n\tA int\n\t// B is.\n\tB int\n)\n", "5: A has no comment"},
	{"consts in a group", docHead + "// These are.\nconst (\n\tA = 1\n\tB = 2\n)\n", ""},
	{"const members", docHead + "const (\n\tA = 1 // A is.\n\tB = 2\n)\n", "5: B has no comment"},
	{"exported var", docHead + "var ErrA = errors.New(\"a\")\n", "3: ErrA has no comment"},
	{"init", docHead + "func init() {}\n\ntype t int\n\nfunc (t) init() {}\n", "3: func init"},
	{"fixed values", docHead + "import e \"embed\"\n" + `
var errA, errB = errors.New("a"), fmt.Errorf("b: %w", errA)
var errC = agent.ErrC
var _ I = (*T)(nil)
//go:embed a.sql
var files e.FS
var word = regexp.MustCompile("a")
var table = []string{"a"}
var codes = map[string]int{"a": 1}
var zero = unit{}
var magic = []byte("a")
func f() { table := f2(); table[0] = "b"; copy(table, table); for i := range table { _ = i }; x := codes["a"]; x++ }
`, "6: var errC is package-level state"},
	{"sentinel of another package", docHead + "var ErrC = agent.ErrC // ErrC is.\n", ""},
	{"number", docHead + "var n = 5\n", "3: var n is package-level state"},
	{"no value", docHead + "var a, b int\n", "3: var a is package-level state\n3: var b is package-level state"},
	{"lock", docHead + "var mu sync.Mutex\nvar once = sync.Once{}\n", "3: var mu is package-level state\n4: var once is package-level state"},
	{"registry", docHead + "var r = map[string]int{}\nvar s = []int{}\n", "3: var r is package-level state\n4: var s is package-level state"},
	{"pointer", docHead + "var d = &T{}\n", "3: var d is package-level state"},
	{"func variable", docHead + "var now = time.Now\nvar g = func() {}\n", "3: var now is package-level state\n4: var g is package-level state"},
	{"time", docHead + "var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)\nvar now = time.Now()\n", "4: var now is package-level state"},
	{"test flag", "// Package agenttest is.\npackage agenttest\n\nvar update = flag.Bool(\"update\", false, \"\")\n", ""},
	{"flag", docHead + "var update = flag.Bool(\"update\", false, \"\")\n", "3: var update is package-level state"},
	{"version of a program", "// Command p is.\npackage main\n\nvar version = \"unreleased\"\n", ""},
	{"version of a library", docHead + "var version = \"unreleased\"\n", "3: var version is package-level state"},
	{"version assigned", "// Command p is.\npackage main\n\nvar version = \"a\"\n\nfunc main() { version = \"b\" }\n", "6: package-level version is changed here"},
	{"assigned table", docHead + "var table = []T{{1}}\n" + `
func a() { table = nil }
func b() { table[0].x = 2 }
func c() { (table)[0]++ }
func d() { delete(table, "a") }
func e() { clear(table[1:]) }
func f() { for table[0].x = range 3 { } }
func g() { table += 1 }
`, `5: package-level table is changed here
6: package-level table is changed here
7: package-level table is changed here
8: package-level table is changed here
9: package-level table is changed here
10: package-level table is changed here
11: package-level table is changed here`},
	{"file of 600 lines", docHead + strings.Repeat("\n", 598), ""},
	{"file of 601 lines", docHead + strings.Repeat("\n", 599), "2: file of 601 lines"},
	{"func of 80 lines", docHead + "func f() {\n" + strings.Repeat("\n", 78) + "}\n", ""},
	{"func of 81 lines", docHead + "func f() {\n" + strings.Repeat("\n", 79) + "}\n", "3: func f of 81 lines"},
	{"package name", "// Package utils is.\npackage utils\n", "2: package utils"},
	{"words", docHead + "// f is. " + "TO" + "DO: more.\nfunc f() {\n\t/* FIX" + "ME */\n\tx() // XX" + "X\n}\n// XXXX TODOS\n", "3: TODO\n5: FIXME\n6: XXX"},
}

const docHead = "// Package p is.\npackage p\n"

// TestDocChecks shows that each check finds what it forbids and lets pass what it allows.
func TestDocChecks(t *testing.T) {
	find := func(file, src string) []docFinding {
		t.Helper()
		fset := token.NewFileSet()
		packages, err := parseModule(fset, fstest.MapFS{file: {Data: []byte(src)}})
		if err != nil {
			t.Fatal(err)
		}
		return docFindings(fset, packages)
	}
	for _, c := range docCases {
		var got []string
		for _, f := range find("a/p.go", c.src) {
			got = append(got, fmt.Sprintf("%d: %s", f.at.Line, f.what))
			if !strings.HasPrefix(f.String(), fmt.Sprintf("a/p.go:%d: %s: ", f.at.Line, f.what)) || f.do == "" {
				t.Errorf("%s: a finding must say where, what and what to do: %q", c.name, f)
			}
		}
		if got := strings.Join(got, "\n"); got != c.want {
			t.Errorf("%s: found\n%s\nwant\n%s", c.name, got, c.want)
		}
	}
	for _, name := range []string{"utils", "util", "common", "helpers", "types", "manager"} {
		if got := find("a/"+name+".go", docHead); len(got) != 1 || got[0].what != "file "+name+".go" {
			t.Errorf("%s.go: found %v", name, got)
		}
	}
	for _, file := range []string{"a/p_test.go", "a/testdata/p.go", ".git/p.go", "vendor/a/p.go", "a/p.txt"} {
		if got := find(file, "package p\n"); len(got) > 0 {
			t.Errorf("%s is not ours to check, but found %v", file, got)
		}
	}
}
