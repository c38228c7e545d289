package agenttest

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/alumet-hpc/alumet-hpc/agent"
	"github.com/alumet-hpc/alumet-hpc/agent/config"
)

// Configure reads a plugin's section from a configuration file's text and returns its configuration, a pointer, as the
// agent would. It also checks that the defaults are valid and that the configuration file that is made from them reads back
// to the same values.
func Configure(t testing.TB, p agent.Plugin, text string) any {
	t.Helper()
	plugins := []agent.Plugin{p}
	var made strings.Builder
	if err := config.Write(&made, nil, plugins); err != nil {
		t.Fatal(err)
	}
	f, err := config.Parse("defaults", []byte(made.String()), plugins, nil)
	if err != nil {
		t.Fatalf("the configuration that is made from the defaults cannot be read: %v\n%s", err, made.String())
	}
	if got, want := f.Sections[0].Config, p.Defaults(); !reflect.DeepEqual(got, want) {
		t.Errorf("the defaults read back as %+v; want %+v", got, want)
	}
	if f, err = config.Parse("text", []byte(text), plugins, nil); err != nil {
		t.Fatal(err)
	}
	if !f.Sections[0].Enabled {
		t.Errorf("the text does not enable %s", p.Name)
	}
	return f.Sections[0].Config
}

// CheckReadme checks that the README.md beside the plugin shows the configuration file that is made from the defaults, in
// its first block of TOML.
func CheckReadme(t testing.TB, p agent.Plugin) {
	t.Helper()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, _ := strings.Cut(string(text), "```toml\n")
	block, _, _ = strings.Cut(block, "```\n")
	p.Doc = "" // the page says more than that
	var made strings.Builder
	if err := config.Write(&made, nil, []agent.Plugin{p}); err != nil {
		t.Fatal(err)
	}
	if block != made.String() {
		t.Errorf("README.md shows another configuration than the defaults:\n%s", Diff(made.String(), block))
	}
}
