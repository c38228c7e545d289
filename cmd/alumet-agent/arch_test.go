package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

// archImport is one import of one of our packages. Our own packages are named by their folder in the module.
type archImport struct {
	from, to string // to is empty in the one entry that stands for the package itself
	ours     bool   // to is one of ours
	test     bool   // a _test.go file of from imports it
	usesNet  bool   // to is net, or somebody else's library that links it
	pkg      string // from's package name
}

// archRule forbids imports. It is printed with its reason, so that who breaks it learns what to do instead.
type archRule struct {
	name, reason string
	broken       func(i archImport) bool
}

// archRules holds the imports to the design's one direction: cmd → plugins → jobs → agent → std, x/sys, one TOML library.
// Tests may reach across.
var archRules = []archRule{
	{"agent stands alone", "the pipeline must not know what it carries: hand it in from cmd, or declare a one-method interface in agent",
		func(i archImport) bool {
			return i.code() && i.ours && archIn(i.from, "agent") && !archIn(i.to, "agent")
		}},
	{"agent and jobs need std, x/sys and one TOML library", "what everything stands on must build and be reviewed fast: a library belongs into the plugin that needs it",
		func(i archImport) bool {
			core := archIn(i.from, "agent") && !archIn(i.from, "agent/agenttest") || i.from == "jobs"
			return i.code() && core && i.foreign() && !archIn(i.to, "golang.org/x/sys") && !archIn(i.to, "github.com/pelletier/go-toml/v2")
		}},
	{"jobs imports only agent", "the ledger must run in replay and in tests without store, scheduler or hardware: take what you need as an interface",
		func(i archImport) bool { return i.code() && i.ours && i.from == "jobs" && i.to != "agent" }},
	{"jobs/* import jobs and agent", "what is below jobs serves every scheduler and output alike: cmd joins them",
		func(i archImport) bool {
			return i.code() && i.ours && archIn(i.from, "jobs") && i.from != "jobs" && !archIn(i.to, "jobs") && !archIn(i.to, "agent")
		}},
	{"a plugin imports agent and jobs", "a plugin must be removable by deleting its folder and one line: share through agent or jobs; scheduler and scheduler/cgroups serve the schedulers",
		func(i archImport) bool {
			inside := archIn(i.from, "scheduler") && (i.to == "scheduler" || archIn(i.to, "scheduler/cgroups"))
			return i.code() && i.ours && archIn(i.from, "hwsources", "outputs", "scheduler") && !inside &&
				!archIn(i.to, "agent") && i.to != "jobs" && !archIn(i.to, archOwner(i.from))
		}},
	{"only cmd imports plugins", "cmd/alumet-agent/plugins.go is the one list of them; contrib may measure them",
		func(i archImport) bool {
			return i.code() && i.ours && archPlugin(i.to) && !archIn(i.from, "cmd", "contrib", archOwner(i.to))
		}},
	{"os/exec only in cmd and contrib", "the agent runs as root on every node: starting programs is the exec verb's business alone",
		func(i archImport) bool { return i.code() && i.to == "os/exec" && !archIn(i.from, "cmd", "contrib") }},
	{"net only where listed", "what can open a connection is a short list that an auditor can read: archNet in this file",
		func(i archImport) bool {
			cobra := archIn(i.from, "cmd") && archIn(i.to, "github.com/spf13/cobra") // its flag library has a type for addresses
			return i.code() && i.usesNet && !cobra && archNet[i.from] == "" && !archIn(i.from, "contrib")
		}},
	{"agenttest only from tests", "it panics, fails tests and links the test framework",
		func(i archImport) bool {
			return i.code() && archIn(i.to, "agent/agenttest") && !archIn(i.from, "agent/agenttest")
		}},
	{"contrib only from tests and contrib", "test beds and simulators are not part of the product",
		func(i archImport) bool {
			return i.code() && i.ours && archIn(i.to, "contrib") && !archIn(i.from, "contrib")
		}},
	{"folder and package agree", "who reads an import path must know the identifier: dashes drop out, programs are main and live in cmd and contrib",
		func(i archImport) bool {
			if i.pkg == "main" {
				return i.to == "" && !archIn(i.from, "cmd", "contrib")
			}
			return i.to == "" && i.pkg != strings.ReplaceAll(path.Base(i.from), "-", "")
		}},
}

// archNet lists who may import net or a library that does, and why.
var archNet = map[string]string{
	"agent/control":      "the control socket",
	"agent/telemetry":    "sends the agent's own counters",
	"hwsources/cvmfs":    "receives telemetry",
	"hwsources/kwollect": "asks the Kwollect API",
	"hwsources/quarch":   "talks to a Quarch module",
	"jobs/api":           "serves queries",
	"jobs/store":         "PostgreSQL for a site",
	"outputs/elastic":    "writes to a server",
	"outputs/influxdb":   "writes to a server",
	"outputs/kwollect":   "writes to a server",
	"outputs/mongodb":    "writes to a server",
	"outputs/otlp":       "writes to a server",
	"outputs/prometheus": "serves a scrape endpoint",
	"outputs/relay":      "both ends of the relay",
	"scheduler":          "listens for prolog, epilog and SPANK",
}

func (i archImport) String() string {
	if i.to == "" {
		return i.from + " (package " + i.pkg + ")"
	}
	return i.from + " imports " + i.to
}
func (i archImport) code() bool    { return !i.test }
func (i archImport) foreign() bool { return !i.ours && strings.Contains(i.to, ".") }

// archIn tells whether p is one of the folders or below one.
func archIn(p string, folders ...string) bool {
	return slices.ContainsFunc(folders, func(f string) bool { return p == f || strings.HasPrefix(p, f+"/") })
}

// archOwner is the plugin that a package belongs to: hwsources/rapl for hwsources/rapl/msr.
func archOwner(p string) string {
	parts := strings.SplitN(p, "/", 3)
	return strings.Join(parts[:min(2, len(parts))], "/")
}

func archPlugin(p string) bool {
	library := p == "scheduler" || archIn(p, "scheduler/cgroups")
	return archIn(p, "hwsources", "outputs", "scheduler") && !library
}

// archPackage is what we read of `go list -json`.
type archPackage struct {
	ImportPath, Name                         string
	Standard                                 bool
	Module                                   *struct{ Main bool }
	Imports, TestImports, XTestImports, Deps []string
}

// goList describes all packages of the module and all that they depend on.
func goList(t *testing.T) []archPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps", "-json=ImportPath,Name,Standard,Module,Imports,TestImports,XTestImports,Deps", "./...")
	cmd.Dir = "../.."
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []archPackage
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p archPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		all = append(all, p)
	}
}

// archImports turns what go list says into imports with our names.
func archImports(all []archPackage, module string) []archImport {
	net := map[string]bool{"net": true, "net/http": true}
	for _, p := range all {
		if slices.Contains(p.Deps, "net") && (!p.Standard || slices.Contains(p.Imports, "net")) {
			net[p.ImportPath] = true
		}
	}
	var out []archImport
	add := func(p archPackage, to string, test bool) {
		rel, ours := strings.CutPrefix(to, module+"/")
		out = append(out, archImport{from: strings.TrimPrefix(p.ImportPath, module+"/"), to: rel, ours: ours, test: test,
			usesNet: !ours && net[to], pkg: p.Name})
	}
	for _, p := range all {
		if p.Module == nil || !p.Module.Main {
			continue
		}
		for _, to := range p.Imports {
			add(p, to, false)
		}
		for _, to := range slices.Concat(p.TestImports, p.XTestImports) {
			add(p, to, true)
		}
		add(p, "", true) // so that a package that imports nothing still has its name checked
	}
	return out
}

// archFindings returns a line for each broken rule, without duplicates.
func archFindings(imports []archImport) []string {
	var out []string
	for _, i := range imports {
		for _, r := range archRules {
			if r.broken(i) {
				out = append(out, fmt.Sprintf("%s: %s: %s", i, r.name, r.reason))
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// TestArchitecture holds the imports of the module to the direction of the design.
func TestArchitecture(t *testing.T) {
	imports := archImports(goList(t), "github.com/alumet-hpc/alumet-hpc")
	if !slices.ContainsFunc(imports, func(i archImport) bool { return i.ours }) {
		t.Fatal("go list shows no import between our own packages: the test sees nothing")
	}
	for _, f := range archFindings(imports) {
		t.Error(f)
	}
}

// TestArchRules shows that each rule finds what it forbids and lets pass what it allows.
func TestArchRules(t *testing.T) {
	seen := map[string]bool{}
	check := func(rule, from, pkg, to string, set ...func(*archImport)) {
		t.Helper()
		rel, ours := strings.CutPrefix(to, "./")
		i := archImport{from: from, pkg: pkg, to: rel, ours: ours}
		for _, f := range set {
			f(&i)
		}
		var broken []string
		for _, r := range archRules {
			if r.broken(i) {
				broken = append(broken, r.name)
				seen[r.name] = true
			}
		}
		if rule == "" && len(broken) > 0 || rule != "" && !slices.Contains(broken, rule) {
			t.Errorf("%s imports %s: broken rules %q, want %q", from, to, broken, rule)
		}
	}
	test := func(i *archImport) { i.test = true }
	usesNet := func(i *archImport) { i.usesNet = true }

	check("agent stands alone", "agent", "agent", "./jobs")
	check("agent stands alone", "agent/config", "config", "./outputs/csv")
	check("", "agent", "agent", "./agent/config")
	check("", "agent/spool", "spool", "./contrib/testbed/slurm", test)

	check("agent and jobs need std, x/sys and one TOML library", "agent/config", "config", "github.com/spf13/viper")
	check("agent and jobs need std, x/sys and one TOML library", "jobs", "jobs", "github.com/mattn/go-sqlite3")
	check("", "agent/config", "config", "github.com/pelletier/go-toml/v2/unstable")
	check("", "jobs/store", "store", "github.com/mattn/go-sqlite3")
	check("", "agent", "agent", "golang.org/x/sys/unix")

	check("jobs imports only agent", "jobs", "jobs", "./jobs/store")
	check("jobs imports only agent", "jobs", "jobs", "./scheduler")
	check("", "jobs", "jobs", "./agent")
	check("jobs/* import jobs and agent", "jobs/report", "report", "./scheduler/slurm")
	check("", "jobs/report", "report", "./jobs/store")
	check("", "jobs/annotate", "annotate", "./agent/config")

	check("a plugin imports agent and jobs", "hwsources/rapl", "rapl", "./hwsources/perf")
	check("a plugin imports agent and jobs", "outputs/csv", "csv", "./jobs/store")
	check("a plugin imports agent and jobs", "scheduler/slurm", "slurm", "./scheduler/oar")
	check("a plugin imports agent and jobs", "scheduler/cgroups", "cgroups", "./scheduler/slurm")
	check("a plugin imports agent and jobs", "hwsources/cgroup", "cgroup", "./scheduler/cgroups")
	check("", "hwsources/rapl", "rapl", "./hwsources/rapl/msr")
	check("", "hwsources/rapl", "rapl", "./agent/sysfile")
	check("", "scheduler/slurm", "slurm", "./scheduler/cgroups")
	check("", "scheduler/oar", "oar", "./scheduler")
	check("", "outputs/csv", "csv", "./jobs")

	check("only cmd imports plugins", "jobs/report", "report", "./hwsources/rapl")
	check("only cmd imports plugins", "scheduler", "scheduler", "./scheduler/slurm")
	check("", "cmd/alumet-agent", "main", "./hwsources/rapl")
	check("", "contrib/bench", "main", "./scheduler/slurm")
	check("", "outputs/relay", "relay", "./outputs/relay/frame")

	check("os/exec only in cmd and contrib", "scheduler/slurm", "slurm", "os/exec")
	check("", "cmd/alumet-agent", "main", "os/exec")
	check("", "scheduler/slurm", "slurm", "os/exec", test)

	check("net only where listed", "hwsources/rapl", "rapl", "net", usesNet)
	check("net only where listed", "hwsources/rapl", "rapl", "github.com/go-resty/resty/v2", usesNet)
	check("net only where listed", "cmd/alumet-job", "main", "net", usesNet)
	check("", "cmd/alumet-job", "main", "github.com/spf13/cobra", usesNet)
	check("", "outputs/influxdb", "influxdb", "net/http", usesNet)
	check("", "hwsources/rapl", "rapl", "net/netip")
	check("", "jobs", "jobs", "net/http", usesNet, test)

	check("agenttest only from tests", "hwsources/rapl", "rapl", "./agent/agenttest")
	check("", "hwsources/rapl", "rapl", "./agent/agenttest", test)
	check("contrib only from tests and contrib", "cmd/alumet-agent", "main", "./contrib/testbed/powersim")
	check("", "contrib/bench", "main", "./contrib/testbed/powersim")

	check("folder and package agree", "hwsources/rapl", "power", "", test)
	check("folder and package agree", "outputs/csv", "main", "", test)
	check("", "jobs/process-bridge", "processbridge", "", test)

	for _, r := range archRules {
		if !seen[r.name] {
			t.Errorf("no example breaks the rule %q", r.name)
		}
	}
}

// TestArchNetByLibrary shows that a library which links net counts as net, and that a standard package which merely has
// it among its dependencies' dependencies does not.
func TestArchNetByLibrary(t *testing.T) {
	main := &struct{ Main bool }{true}
	all := []archPackage{
		{ImportPath: "m/hwsources/rapl", Name: "rapl", Module: main, Imports: []string{"x.org/lib", "encoding/pem", "net/smtp", "x.org/pure"}},
		{ImportPath: "x.org/lib", Deps: []string{"net"}},
		{ImportPath: "x.org/pure", Deps: []string{"fmt"}},
		{ImportPath: "net/smtp", Standard: true, Imports: []string{"net"}, Deps: []string{"net"}},
		{ImportPath: "encoding/pem", Standard: true, Deps: []string{"fmt"}},
	}
	var got []string
	for _, i := range archImports(all, "m") {
		if i.usesNet {
			got = append(got, i.to)
		}
	}
	if want := []string{"x.org/lib", "net/smtp"}; !slices.Equal(got, want) {
		t.Errorf("counted as net: %q, want %q", got, want)
	}
}
