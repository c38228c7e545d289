package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/alumet-hpc/alumet-hpc/agent"
)

// rapl, proc and formula stand for the kinds of plugins: plain keys, tables and lists of tables, and maps.
type rapl struct {
	Poll  Duration `toml:"poll_interval" comment:"Interval between two measurements."`
	Flush Duration `toml:"flush_interval"`
	Perf  bool     `toml:"no_perf_events" comment:"Two\nlines."`
	TDP   float64  `toml:"tdp"`
	Path  string   `toml:"output_path"`
}

func (c *rapl) Validate() error { return c.Poll.Positive("poll_interval") }

type group struct {
	Pid  *int     `toml:"pid"`
	Exe  string   `toml:"exe_regex"`
	Poll Duration `toml:"poll_interval"`
}

type table struct {
	Enabled bool     `toml:"enabled" comment:"Measure this."`
	Metrics []string `toml:"metrics"`
	Groups  []group  `toml:"groups" comment:"Which processes."`
}

type proc struct {
	Kernel table `toml:"kernel" comment:"The kernel."`
	Limit  uint8 `toml:"limit"`
}

type formula struct {
	Formulas map[string]struct {
		Expr string `toml:"expr"`
	} `toml:"formulas"`
	Weights map[string]int `toml:"weights,omitempty"`
}

type general struct {
	Max  Duration `toml:"max_update_interval" comment:"The longest time to wait."`
	Size int      `toml:"source_channel_size,commented"`
}

func open[C any](*agent.Setup, C) error { return nil }

func plugins() []agent.Plugin {
	return []agent.Plugin{
		agent.Define("rapl", "Energy.", func() rapl { return rapl{Poll: 1e9, Flush: 5e9, TDP: 100, Path: "a \"b\"\\\n\x01"} }, open),
		agent.Define("procfs", "Processes.", func() proc {
			return proc{Limit: 7, Kernel: table{Enabled: true, Metrics: []string{"MemTotal", "MemFree"}, Groups: []group{{Poll: 2e9}}}}
		}, open),
		agent.Define("energy-attribution", "", func() formula { return formula{} }, open),
	}
}

func parse(t *testing.T, text string, overrides ...Override) (*File, *general) {
	t.Helper()
	g := &general{Max: 2e9, Size: 2048}
	f, err := Parse("a.toml", []byte(text), plugins(), g, overrides...)
	if err != nil {
		t.Fatal(err)
	}
	return f, g
}

func names(f *File) string {
	var b strings.Builder
	for _, s := range f.Sections {
		fmt.Fprintf(&b, "%s:", s.Plugin.Name)
		if s.Present {
			b.WriteString("present")
		}
		if s.Enabled {
			b.WriteString(" enabled")
		}
		if s.Required {
			b.WriteString(" required")
		}
		b.WriteString("; ")
	}
	return b.String()
}

func TestParse(t *testing.T) {
	f, g := parse(t, `
max_update_interval = "1m 30s"
[plugins.procfs]
enabled = false
[plugins.rapl]
poll_interval = "150ms"
no_perf_events = true
required = true
tdp = 65
`)
	if want := "procfs:present; rapl:present enabled required; energy-attribution:; "; names(f) != want {
		t.Errorf("sections %s; want %s", names(f), want)
	}
	want := &rapl{Poll: Duration(150 * time.Millisecond), Flush: 5e9, Perf: true, TDP: 65, Path: "a \"b\"\\\n\x01"}
	if got := f.Section("rapl").Config; !reflect.DeepEqual(got, want) {
		t.Errorf("rapl: %+v; want %+v", got, want)
	}
	if g.Max.Std() != 90*time.Second || g.Size != 2048 {
		t.Errorf("general keys %+v", g)
	}
	if f.Section("nvml") != nil {
		t.Error("there is a section of an unknown plugin")
	}
}

func TestEmptyFile(t *testing.T) {
	f, _ := parse(t, "")
	if want := "rapl:; procfs:; energy-attribution:; "; names(f) != want {
		t.Errorf("sections %s; want %s", names(f), want)
	}
	if f, err := Parse("x", nil, plugins(), nil); err != nil || len(f.Sections) != 3 {
		t.Errorf("without general keys: %v", err)
	}
}

func TestEnabledInAnyForm(t *testing.T) {
	for text, want := range map[string]bool{
		"[plugins.rapl]\nenabled = true\n":                                       true,
		"[plugins.rapl]\nenable = false # off\ntdp = 1\n":                        false,
		"[plugins.rapl]\nenable = true\nenabled = false\n":                       false,
		"[plugins.rapl]\nenabled = false\nenable = true\n":                       false,
		"plugins.rapl.enabled = false":                                           false,
		"plugins.rapl = { enabled = false, tdp = 1 }":                            false,
		"plugins.rapl = { tdp = 1, enabled = false }":                            false,
		"plugins.rapl = {enabled=false}":                                         false,
		"[plugins]\nrapl = { tdp = 1, enabled = false, no_perf_events = true}\n": false,
		"[plugins]\nrapl.\"enabled\" = false\nrapl.tdp = 1\n":                    false,
	} {
		f, _ := parse(t, text)
		if got := f.Section("rapl"); !got.Present || got.Enabled != want {
			t.Errorf("%q: enabled %v; want %v", text, got.Enabled, want)
		}
	}
	// A plugin's own key of that name stays its own.
	f, _ := parse(t, "[plugins.procfs.kernel]\nenabled = false\n")
	if s := f.Section("procfs"); !s.Enabled || s.Config.(*proc).Kernel.Enabled {
		t.Errorf("procfs: %+v", s)
	}
}

func TestListsReplaceDefaults(t *testing.T) {
	f, _ := parse(t, "[[plugins.procfs.kernel.groups]]\nexe_regex = 'a'\n[[plugins.procfs.kernel.groups]]\npid = 4\n[plugins.procfs.kernel]\nmetrics = ['x']\n")
	k := f.Section("procfs").Config.(*proc).Kernel
	if len(k.Groups) != 2 || k.Groups[0].Exe != "a" || *k.Groups[1].Pid != 4 || len(k.Metrics) != 1 {
		t.Errorf("%+v", k)
	}
}

func TestOverrides(t *testing.T) {
	f, g := parse(t, "[plugins.rapl]\ntdp = 1\n[plugins.energy-attribution.formulas]\na.expr = 'x'\n",
		Override{"--config-override", "plugins.rapl.tdp = 2\nmax_update_interval = '7s'\n[plugins.procfs.kernel]\nmetrics = []"},
		Override{"--config-override", "plugins.rapl.tdp = 3\nplugins.energy-attribution.formulas.b.expr = 'y'"},
		Set("--output-file", "plugins.rapl.output_path", `C:\x "y"`),
	)
	if want := "rapl:present enabled; energy-attribution:present enabled; procfs:present enabled; "; names(f) != want {
		t.Errorf("sections %s; want %s", names(f), want)
	}
	r := f.Section("rapl").Config.(*rapl)
	if r.TDP != 3 || r.Path != `C:\x "y"` || g.Max != 7e9 {
		t.Errorf("%+v %+v", r, g)
	}
	if m := f.Section("energy-attribution").Config.(*formula).Formulas; m["a"].Expr != "x" || m["b"].Expr != "y" {
		t.Errorf("formulas: %v", m)
	}
	if k := f.Section("procfs").Config.(*proc).Kernel; len(k.Metrics) != 0 || !k.Enabled {
		t.Errorf("kernel: %+v", k)
	}
	f, _ = parse(t, "[plugins.rapl]\n", Override{"o", "plugins.rapl.enabled = false"})
	if f.Section("rapl").Enabled {
		t.Error("an override does not disable")
	}
	_, err := Parse("a.toml", nil, plugins(), nil, Override{"--config-override", "plugins.rapl.tdb = 2"})
	if want := `--config-override:1:1: plugins.rapl.tdb: unknown key; did you mean "tdp"?`; err == nil || err.Error() != want {
		t.Errorf("Parse = %v; want %s", err, want)
	}
}

func TestOnly(t *testing.T) {
	f, _ := parse(t, "[plugins.procfs]\n")
	if err := f.Only([]string{"rapl"}); err != nil {
		t.Error(err)
	}
	if want := "procfs:present; rapl: enabled; energy-attribution:; "; names(f) != want {
		t.Errorf("sections %s; want %s", names(f), want)
	}
	if err := f.Only([]string{"rpal"}); err == nil || !strings.Contains(err.Error(), `did you mean "rapl"`) {
		t.Errorf("Only = %v", err)
	}
	f, _ = parse(t, "[plugins.rapl]\nenabled = false\npoll_interval = '0s'\n")
	if err := f.Only([]string{"rapl"}); err == nil || err.Error() != "a.toml:3:1: plugins.rapl: poll_interval must be greater than zero" {
		t.Errorf("Only = %v", err)
	}
}

func TestErrors(t *testing.T) {
	t.Setenv("CONFIG_TEST", "two\nlines")
	for text, want := range map[string]string{
		"[plugins.rapl]\npoll_intervall = '1s'\n":                    `a.toml:2:1: plugins.rapl.poll_intervall: unknown key; did you mean "poll_interval"?`,
		"[plugins.rapl]\nxyz = '1s'\n":                               `a.toml:2:1: plugins.rapl.xyz: unknown key; known are flush_interval, no_perf_events, output_path, poll_interval, tdp`,
		"[plugins.rpal]\nx = '1s'\n":                                 `a.toml:1:2: plugins.rpal: unknown plugin; did you mean "rapl"?`,
		"[plugins.RAPL]\n":                                           `a.toml:1:2: plugins.RAPL: unknown plugin; did you mean "rapl"?`,
		"plugins = { rapl = {} , zzzzzz = {} }":                      `a.toml:1:25: plugins.zzzzzz: unknown plugin; known are energy-attribution, procfs, rapl`,
		"[plugin.rapl]\n":                                            `a.toml:1:2: plugin: unknown key; did you mean "plugins"?`,
		"max_update_intervall = '1s'\n":                              `a.toml:1:1: max_update_intervall: unknown key; did you mean "max_update_interval"?`,
		"[plugins.procfs.kernal]\n":                                  `a.toml:1:2: plugins.procfs.kernal: unknown key; did you mean "kernel"?`,
		"[plugins.procfs.kernel]\nmetric=[]\n":                       `a.toml:2:1: plugins.procfs.kernel.metric: unknown key; did you mean "metrics"?`,
		"[[plugins.procfs.kernel.groups]]\npidd=3\n":                 `a.toml:2:1: plugins.procfs.kernel.groups.pidd: unknown key; did you mean "pid"?`,
		"[plugins.procfs.kernel]\ngroups=[{pid=1}, {pidd=3}]\n":      `a.toml:2:19: plugins.procfs.kernel.groups.pidd: unknown key; did you mean "pid"?`,
		"[plugins.rapl]\npoll_interval = '1x'\n":                     `a.toml:2:17: plugins.rapl.poll_interval: duration "1x": unit "x" is unknown; units are ns, us, ms, s, m, h, d, w, M (month) and y`,
		"[plugins.rapl]\npoll_interval = 5\n":                        `a.toml:2:1: plugins.rapl.poll_interval: want a duration such as "1s" or "150ms", got an integer`,
		"plugins = { rapl = { poll_interval = 1.5 } }":               `a.toml:1:22: plugins.rapl.poll_interval: want a duration such as "1s" or "150ms", got a float`,
		"[plugins.rapl]\npoll_interval = true\n":                     `a.toml:2:1: plugins.rapl.poll_interval: want a duration such as "1s" or "150ms", got a bool`,
		"[plugins.rapl]\nno_perf_events = 'no'\n":                    `a.toml:2:18: plugins.rapl.no_perf_events: want true or false, got a text`,
		"[plugins.rapl]\noutput_path = 4\n":                          `a.toml:2:15: plugins.rapl.output_path: want a text in quotes, got an integer`,
		"[plugins.rapl]\ntdp = '4'\n":                                `a.toml:2:7: plugins.rapl.tdp: want a number, got a text`,
		"[plugins.procfs.kernel]\nmetrics = [1]\n":                   `a.toml:2:12: plugins.procfs.kernel.metrics: want a list, each of it a text in quotes, got an integer`,
		"[plugins.procfs]\nkernel = 1\n":                             `a.toml:2:10: plugins.procfs.kernel: want a table, got an integer`,
		"[plugins.procfs]\nlimit = 300\n":                            `a.toml:2:9: plugins.procfs.limit: integer value 300 cannot be stored in uint8`,
		"plugins.rapl = 3\n":                                         `a.toml:1:16: plugins.rapl: want a table, got an integer`,
		"plugins = {procfs = {kernel = { groups = [{pid='x'}]}}}\n":  `a.toml:1:48: plugins.procfs.kernel.groups.pid: want a whole number, got a text`,
		"[plugins.rapl]\nenabled = 1\n":                              `a.toml:2:1: plugins.rapl.enabled: want true or false, got an integer`,
		"[plugins.rapl]\nrequired = 'yes'\n":                         `a.toml:2:1: plugins.rapl.required: want true or false, got a text`,
		"[plugins.rapl]\nno_perf_events = tru\n":                     `a.toml:2:18: expected keyword "true"`,
		"[plugins.rapl\n":                                            `a.toml:1:14: expected ']' to close table name`,
		"[plugins.rapl]\ntdp = 1\ntdp = 2\n":                         `a.toml:3:1: plugins.rapl.tdp: key tdp is already defined`,
		"[plugins.rapl]\n\npoll_interval = '0s'\n":                   `a.toml:3:1: plugins.rapl: poll_interval must be greater than zero`,
		"a = 1\n\n\tb = '${NO_SUCH_VARIABLE}'\n":                     `a.toml:3:7: the environment variable NO_SUCH_VARIABLE does not exist; write \${NO_SUCH_VARIABLE} for plain text`,
		"a = 1\nb = '${HOME\n'}":                                     `a.toml:2:6: ${ is not closed; write ${NAME}, or \${ for a plain ${`,
		"# ${CONFIG_TEST}\n[plugins.rapl]\ntdp='''${CONFIG_TEST}'''": "a.toml:1:17: expected",
		"max_update_interval = '''1s'''\n[plugins.rapl]\noutput_path = '''${CONFIG_TEST}'''\nx=1": `a.toml:4:1: plugins.rapl.x: unknown key`,
		"[plugins.rapl]\noutput_path = '${HOME}\\${x}'; x=1":                                      `a.toml:2:29: expected newline but got U+003B`,
	} {
		_, err := Parse("a.toml", []byte(text), plugins(), &general{})
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q:\n got %v\nwant %s", text, err, want)
		}
	}
}

func TestAllErrorsAtOnce(t *testing.T) {
	_, err := Parse("a.toml", []byte("[plugins.rapl]\nx=1\ny=2\n"), plugins(), nil)
	if err == nil || strings.Count(err.Error(), "unknown key") != 2 {
		t.Errorf("Parse = %v", err)
	}
}

func TestSubstitution(t *testing.T) {
	t.Setenv("CONFIG_TEST", "node-1")
	f, _ := parse(t, "[plugins.rapl]\noutput_path = '/x/${CONFIG_TEST}/\\${CONFIG_TEST}$5${CONFIG_TEST}'\n")
	if got, want := f.Section("rapl").Config.(*rapl).Path, "/x/node-1/${CONFIG_TEST}$5node-1"; got != want {
		t.Errorf("%q; want %q", got, want)
	}
	f, _ = parse(t, "", Set("o", "plugins.rapl.output_path", "${CONFIG_TEST}"))
	if got := f.Section("rapl").Config.(*rapl).Path; got != "${CONFIG_TEST}" {
		t.Errorf("an override is replaced: %q", got)
	}
}

func TestWrite(t *testing.T) {
	var b strings.Builder
	if err := Write(&b, &general{Max: 2e9, Size: 2048}, plugins()); err != nil {
		t.Fatal(err)
	}
	const want = `# The longest time to wait.
max_update_interval = "2s"
# source_channel_size = 2048

# Energy.
[plugins.rapl]
# Interval between two measurements.
poll_interval = "1s"
flush_interval = "5s"
# Two
# lines.
no_perf_events = false
tdp = 100.0
output_path = "a \"b\"\\\n\u0001"

# Processes.
[plugins.procfs]
limit = 7

# The kernel.
[plugins.procfs.kernel]
# Measure this.
enabled = true
metrics = ["MemTotal", "MemFree"]

# Which processes.
[[plugins.procfs.kernel.groups]]
exe_regex = ""
poll_interval = "2s"

[plugins.energy-attribution]
`
	if b.String() != want {
		t.Errorf("got:\n%s", b.String())
	}
	f, _ := parse(t, b.String())
	for i, p := range plugins() {
		if got, want := f.Sections[i].Config, p.Defaults(); f.Sections[i].Plugin.Name != p.Name || !reflect.DeepEqual(got, want) {
			t.Errorf("%s reads back as %+v; want %+v", p.Name, got, want)
		}
	}
}

func TestWriteEveryKind(t *testing.T) {
	type c struct {
		Long   []string            `toml:"long"`
		Maps   map[string][]uint16 `toml:"maps"`
		Tables []struct {
			A *string `toml:"a"`
		} `toml:"tables"`
		Float  []float32 `toml:"float"`
		Text   *string   `toml:"text,commented"`
		Hidden int       `toml:"-"`
		Plain  Duration
	}
	text := "x"
	fill := func() c {
		v := c{Maps: map[string][]uint16{"b c": {1, 2}, "a": nil}, Float: []float32{1, 0.5}, Text: &text, Plain: 1}
		for range 30 {
			v.Long = append(v.Long, "abcdef")
		}
		return v
	}
	list := []agent.Plugin{agent.Define("x", "", fill, open)}
	var b strings.Builder
	if err := Write(&b, nil, list); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"long = [\n    \"abcdef\",\n", "]\ntables = []\nfloat = [1.0, 0.5]\n# text = \"x\"\nPlain = \"1ns\"\n\n[plugins.x.maps]\na = []\n\"b c\" = [1, 2]\n"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in:\n%s", want, b.String())
		}
	}
	if _, err := Parse("x", []byte(b.String()), list, nil); err != nil {
		t.Error(err)
	}
	bad := []agent.Plugin{agent.Define("x", "", func() struct{ C chan int } { return struct{ C chan int }{make(chan int)} }, open)}
	if err := Write(&b, nil, bad); err == nil {
		t.Error("a channel was printed")
	}
}

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.toml")
	if _, err := Load(path, plugins(), nil); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), path) {
		t.Errorf("Load = %v", err)
	}
	if err := os.WriteFile(path, []byte("[plugins.rapl]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if f, err := Load(path, plugins(), nil); err != nil || !f.Section("rapl").Enabled {
		t.Errorf("Load = %v", err)
	}
}

func TestEdits(t *testing.T) {
	for pair, want := range map[[2]string]int{
		{"", ""}: 0, {"a", ""}: 1, {"", "ab"}: 2, {"rapl", "rpal"}: 1, {"kitten", "sitting"}: 3, {"same", "same"}: 0, {"ab", "ba"}: 1,
	} {
		if got := edits(pair[0], pair[1]); got != want {
			t.Errorf("edits(%q, %q) = %d; want %d", pair[0], pair[1], got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"[plugins.rapl]\nenabled = true\npoll_interval = '1s'\n", "plugins = { rapl = { enabled = false, tdp = 1 } }", "[[plugins.procfs.kernel.groups]]\npid=1\n",
		"a = '${HOME}\\${x}'", "[plugins.rapl]\nx=1\n", "plugins.rapl.poll_interval = 5", "[plugins.energy-attribution.formulas.a]\nexpr=''\n", "${", "[plugins",
	} {
		f.Add([]byte(s))
	}
	list := plugins()
	f.Fuzz(func(t *testing.T, text []byte) {
		file, err := Parse("f", text, list, &general{})
		if (err == nil) != (file != nil) {
			t.Errorf("%q: file %v with error %v", text, file, err)
		}
		if err != nil && !strings.HasPrefix(err.Error(), "f:") {
			t.Errorf("%q: the error does not name the file: %v", text, err)
		}
	})
}
