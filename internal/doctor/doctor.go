// Package doctor finds what is wrong with an installation or a pool, and names
// the command that mends it.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"
	"golang.org/x/sys/cpu"

	"crayon"
	"crayon/internal/config"
	"crayon/internal/device"
	"crayon/internal/fault"
	"crayon/internal/kernel"
	"crayon/internal/model"
	"crayon/internal/paint"
	"crayon/internal/store"
	"crayon/internal/upstream"
)

// The states of a check.
const (
	OK      = "ok"
	Warning = "warning" // it works, with something to know
	Failed  = "failed"
	Skipped = "skipped"
)

// Check is one thing looked at.
type Check struct {
	Name   string `json:"name"`
	State  string `json:"state"`
	Detail string `json:"detail"`
	Mend   string `json:"mend,omitempty"` // the command that mends it
}

// Report is all checks, in order.
type Report struct {
	Checks []Check `json:"checks"`
	Failed int     `json:"failed"`
}

func (r *Report) add(name, state, detail, mend string) {
	r.Checks = append(r.Checks, Check{name, state, detail, mend})
	if state == Failed {
		r.Failed++
	}
}

// try adds a check that failed with err, or is fine with the detail.
func (r *Report) try(name, detail string, err error, mend string) bool {
	if err == nil {
		r.add(name, OK, detail, "")
		return true
	}
	if hint := fault.Hint(err); hint != "" {
		mend = hint
	}
	r.add(name, Failed, err.Error(), mend)
	return false
}

// Err is nil when no check failed.
func (r *Report) Err(op string) error {
	if r.Failed == 0 {
		return nil
	}
	return &fault.Error{Op: op, Err: fmt.Errorf("%d of %d checks failed", r.Failed, len(r.Checks)), Hint: "the commands after => above", Exit: fault.ExitVerify}
}

// WriteText writes a line a check, and its mending command under it.
func (r *Report) WriteText(w io.Writer, s paint.Style) {
	for _, c := range r.Checks {
		mark := map[string]string{OK: s.Tick(true), Failed: s.Tick(false), Warning: "!", Skipped: "-"}[c.State]
		fmt.Fprintf(w, "%s %-16s %s\n", mark, c.Name, c.Detail)
		if c.Mend != "" {
			fmt.Fprintf(w, "  %-16s => %s\n", "", c.Mend)
		}
	}
}

// Examine looks at the whole installation. The server is asked for its models,
// which leaves this machine, unless local-only is set.
func Examine(ctx context.Context, s *config.Settings) *Report {
	r := &Report{}
	r.machine(s)
	r.home(s)
	lib, err := crayon.OpenLibrary(s.Home)
	if !r.try("library", "", err, "") {
		return r
	}
	model, err := lib.ModelPath(s.Model)
	if r.try("model file", model, err, "crayon pull") {
		r.model(ctx, s, model)
	}
	r.customisations(lib, s)
	r.server(ctx, s)
	return r
}

func (r *Report) machine(s *config.Settings) {
	r.add("machine", OK, fmt.Sprintf("%s/%s, %d cores, %d used; %s", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), threads(s.Threads), features()), "")
	switch level := kernel.Current(); {
	case kernel.Forced() != nil:
		r.try("arithmetic", "", kernel.Forced(), "unset "+kernel.Variable)
	case level != kernel.Best():
		r.add("arithmetic", Warning, fmt.Sprintf("%s, though this machine has %s", level, kernel.Best()), "unset "+kernel.Variable)
	case level == kernel.Plain:
		r.add("arithmetic", Warning, "plain Go: this processor has no faster kernels here, answers are several times slower", "")
	default:
		r.add("arithmetic", OK, level.String(), "")
	}
}

func threads(n int) int {
	if n == 0 {
		return runtime.GOMAXPROCS(0)
	}
	return n
}

// features names what of the processor the kernels can use.
func features() string {
	var out []string
	for _, f := range []struct {
		name string
		has  bool
	}{
		{"avx2", cpu.X86.HasAVX2}, {"fma", cpu.X86.HasFMA}, {"avxvnni", cpu.X86.HasAVXVNNI}, {"avx512f", cpu.X86.HasAVX512F}, {"avx512bw", cpu.X86.HasAVX512BW}, {"avx512vnni", cpu.X86.HasAVX512VNNI},
		{"neon", cpu.ARM64.HasASIMD}, {"dotprod", cpu.ARM64.HasASIMDDP},
	} {
		if f.has {
			out = append(out, f.name)
		}
	}
	if len(out) == 0 {
		return "no vector features known"
	}
	return strings.Join(out, " ")
}

// leastFree is the free space below which a warning is due, in bytes: a model
// and a few pools.
const leastFree = 1 << 30

func (r *Report) home(s *config.Settings) {
	dir := s.Paths.Data
	probe := filepath.Join(dir, ".doctor")
	err := store.WriteBytes(probe, []byte("may be deleted\n"))
	if err == nil {
		err = os.Remove(probe)
	}
	if !r.try("home", dir, err, "export CRAYON_HOME=/a/folder/you/may/write") {
		return
	}
	free, err := freeSpace(dir)
	switch {
	case err != nil:
		r.add("free space", Skipped, err.Error(), "")
	case free < leastFree:
		r.add("free space", Warning, humanize.IBytes(free)+" left, pulls may fail", "free some space in "+dir)
	default:
		r.add("free space", OK, humanize.IBytes(free), "")
	}
}

func (r *Report) model(ctx context.Context, s *config.Settings, path string) {
	p, err := crayon.OpenPool(s.Pool)
	if !r.try("pool", poolName(p, s.Pool), err, "leave --pool out, to use the one in the program") {
		return
	}
	d, err := device.Open(ctx, path, p, device.Options{Threads: s.Threads})
	var side *model.Side
	if err == nil {
		defer d.Close()
		side, err = d.Side(ctx)
	}
	if !r.try("model opens", "", err, "crayon pull") {
		return
	}
	r.Checks[len(r.Checks)-1].Detail = fmt.Sprintf("%s, %d layers, %s packed, the pool %s beside it", d.Model.Config.Family, d.Model.Config.Layers,
		humanize.IBytes(uint64(d.Model.Bytes())), humanize.IBytes(uint64(side.Bytes())))
	digest, err := d.Digest()
	if !r.try("model digest", digest, err, "crayon pull") {
		return
	}
	warning, err := p.Check(digest, d.Lineage, d.Model.Config)
	if warning != "" {
		r.add("pool fits", Warning, warning, "crayon pull")
		return
	}
	r.try("pool fits", "made for this very file", err, "crayon pull")
}

func poolName(p *crayon.Pool, path string) string {
	if p == nil {
		return ""
	}
	if path == "" {
		path = "in the program"
	}
	return fmt.Sprintf("%s (%s), %d adapters", p.Name, path, len(p.Blended()))
}

func (r *Report) customisations(lib *crayon.Library, s *config.Settings) {
	entries, err := lib.List()
	if !r.try("customisations", fmt.Sprintf("%d", len(entries)), err, "") {
		return
	}
	p, err := crayon.OpenPool(s.Pool)
	if err != nil {
		return
	}
	for _, e := range entries {
		if e.Damaged != "" {
			r.add("  "+e.Name, Failed, e.Damaged, "crayon undo "+e.Name+", or crayon rm "+e.Name)
			continue
		}
		c, err := lib.Load(e.Name)
		if err == nil {
			_, err = c.Members(p)
		}
		if err != nil {
			r.add("  "+e.Name, Failed, err.Error(), fault.Hint(err))
		}
	}
}

func (r *Report) server(ctx context.Context, s *config.Settings) {
	switch {
	case len(s.Server.URLs) == 0:
		r.add("server", Skipped, "none is set: every query is answered here", "")
		return
	case s.LocalOnly:
		r.add("server", Skipped, "local-only: it is not asked", "")
		return
	}
	ledger, err := upstream.OpenLedger(s.Paths.Ledger())
	if !r.try("ledger", s.Paths.Ledger(), err, "") {
		return
	}
	gate := upstream.New(upstream.Options{Ledger: ledger})
	defer gate.Close()
	var all []upstream.ServerOptions
	for i, url := range s.Server.URLs {
		all = append(all, upstream.ServerOptions{URL: url, Key: s.Server.Keys[i], Model: s.Server.Models[i], Timeout: s.Server.Timeout, Retries: -1})
	}
	servers, err := upstream.NewServers(gate, all)
	if err != nil {
		r.try("server", "", err, "")
		return
	}
	for i, server := range servers {
		name := "server"
		if len(servers) > 1 {
			name = fmt.Sprintf("server %d", i+1)
		}
		detail, err := examineServer(ctx, server, all[i].Model)
		r.try(name, detail, err, "check CRAYON_SERVER_URL and that the server runs")
	}
}

// examineServer asks a server for its models, of which the named one must be one.
func examineServer(ctx context.Context, server *upstream.Server, model string) (string, error) {
	models, err := server.Models(upstream.WithWhy(ctx, "doctor"))
	switch {
	case err != nil:
	case len(models) == 0:
		err = errors.New("it lists no model")
	case model != "" && !slices.Contains(models, model):
		hint := "leave its name out of CRAYON_SERVER_MODEL"
		if near := store.Nearest(model, models); near != "" {
			hint = fmt.Sprintf("write %s for %s in CRAYON_SERVER_MODEL", near, model)
		}
		err = &fault.Error{Op: "server", Path: server.URL(), Err: fmt.Errorf("it has no model %q", model), Hint: hint}
	}
	return fmt.Sprintf("%s, %d models", server.URL(), len(models)), err
}
