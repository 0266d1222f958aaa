package crayon_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"crayon"
	"crayon/internal/adapter"
	"crayon/internal/arch"
	"crayon/internal/fault"
	"crayon/internal/gguf"
	"crayon/internal/pool"
	"crayon/internal/poolserve"
	"crayon/internal/testmodel/tiny"
	"crayon/internal/upstream"
)

// wire keeps every byte that clients send.
type wire struct {
	net.Listener
	mu  sync.Mutex
	got bytes.Buffer
}

type tapped struct {
	net.Conn
	w *wire
}

func (w *wire) Accept() (net.Conn, error) {
	c, err := w.Listener.Accept()
	return &tapped{c, w}, err
}

func (c *tapped) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	c.w.got.Write(p[:n])
	return n, err
}

// sent is what was received since the last call.
func (w *wire) sent() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.got.String()
	w.got.Reset()
	return s
}

// served is a pool server on loopback with what is sent to it; change may stand
// in front of it.
func served(t *testing.T, p *pool.Pool, change func(http.Handler) http.Handler) (url string, w *wire) {
	t.Helper()
	s, err := poolserve.New(poolserve.Options{Pool: p})
	require.NoError(t, err)
	h := s.Handler()
	if change != nil {
		h = change(h)
	}
	ts := httptest.NewUnstartedServer(h)
	w = &wire{Listener: ts.Listener}
	ts.Listener = w
	ts.Start()
	t.Cleanup(ts.Close)
	return ts.URL, w
}

// remoteWorld is the tiny model, opened without any pool's file of its own but
// another one, and the pool that a server has.
func remoteWorld(t *testing.T) (model string, p *pool.Pool) {
	t.Helper()
	model, path := tiny.Tiny(t)
	p, err := pool.Open(path)
	require.NoError(t, err)
	return model, p
}

// device opens the model with a pool that is not the server's: one blended
// adapter fewer.
func device(t *testing.T, model string, p *pool.Pool, home string, localOnly bool) *crayon.Crayon {
	t.Helper()
	less, err := p.Retire("blue", time.Unix(0, 0))
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "other.crayon")
	_, err = less.Save(path)
	require.NoError(t, err)
	c, err := crayon.Open(t.Context(), crayon.Options{Home: home, Model: model, Pool: path, Threads: 1, LocalOnly: localOnly})
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

func exampleSet(t *testing.T, csv string) *crayon.Examples {
	t.Helper()
	set, err := crayon.ReadExamples(write(t, "mine.csv", csv))
	require.NoError(t, err)
	return set
}

// A customisation from a server answers as one from the same pool here, and
// goes on doing so when the server is gone and nothing may leave.
func TestPoolServerEndToEnd(t *testing.T) {
	model, p := remoteWorld(t)
	url, w := served(t, p, nil)
	home := t.TempDir()
	c := device(t, model, p, home, false)
	set := exampleSet(t, templateCSV)
	custom, err := c.CustomizeFrom(t.Context(), url, "mine", set, crayon.CustomizeOptions{})
	require.NoError(t, err)
	require.Equal(t, p.Digest(), custom.Pool)
	require.Equal(t, url+"/v1", custom.Remote.URL)
	require.Len(t, custom.Kept, 2, "as many as the pool keeps")

	// The same weights with the whole pool at hand.
	whole, err := crayon.Open(t.Context(), crayon.Options{Home: t.TempDir(), Model: model, Pool: p.Path(), Threads: 1})
	require.NoError(t, err)
	defer whole.Close()
	here, err := whole.Customize(t.Context(), "mine", set, crayon.CustomizeOptions{})
	require.NoError(t, err)
	for i, k := range here.Kept {
		require.Equal(t, k.Adapter, custom.Kept[i].Adapter)
		require.InDelta(t, k.Weight, custom.Kept[i].Weight, 0.0005)
	}
	require.Equal(t, here.Weights, custom.Weights, "computed here from the same indicators")
	require.Equal(t, here.Scope, custom.Scope)
	there, err := c.Evaluate(t.Context(), custom, set, []*crayon.Customisation{nil, custom}, nil)
	require.NoError(t, err)
	same, err := whole.Evaluate(t.Context(), here, set, []*crayon.Customisation{nil, here}, nil)
	require.NoError(t, err)
	require.Equal(t, same, there)

	// What left: the head's request, and the weights, which the ledger shows.
	entries, err := upstream.LedgerAt(c.Paths().Ledger()).Entries(custom.Created.AddDate(-1, 0, 0))
	require.NoError(t, err)
	require.Len(t, entries, 2)
	require.Equal(t, "pool", entries[1].Purpose)
	var numbers []string
	for _, i := range p.Blended() {
		numbers = append(numbers, fmt.Sprintf("%.3f", custom.Remote.Members[i]))
	}
	require.Equal(t, "3 weights: "+strings.Join(numbers, " "), entries[1].Why)
	require.EqualValues(t, len(`{"weights":[0.000,0.000,0.000]}`), entries[1].Out)
	require.Contains(t, w.sent(), `{"weights":[`+strings.Join(numbers, ",")+`]}`)

	// Improve and the proof run here, and ask the server nothing.
	better, err := c.Improve(t.Context(), custom, crayon.CustomizeOptions{Strategy: "stack"}, nil)
	require.NoError(t, err)
	require.Equal(t, "stack", better.Plan.Strategy)
	proof, err := c.Prove(t.Context(), better, nil)
	require.NoError(t, err)
	require.Equal(t, 6, proof.Rows)
	require.NoError(t, c.KeepProof(better, proof))
	for _, s := range []string{"base", "shared", "blend", "shots5", "blend_shots", "shared_shots", "mix", "shots_mix", "stack_shots"} {
		better, err = c.Improve(t.Context(), better, crayon.CustomizeOptions{Strategy: s}, nil)
		require.NoError(t, err, s)
		_, err = c.Session(better).Ask(t.Context(), crayon.Question{Text: "where is the hen?"}, crayon.Silent)
		require.NoError(t, err, s)
	}
	for _, s := range []string{"uniform", "top1", "blend_query", "polish"} {
		_, err := c.Improve(t.Context(), custom, crayon.CustomizeOptions{Strategy: s}, nil)
		require.ErrorContains(t, err, "needs more of the pool", s)
	}
	chosen, err := c.Improve(t.Context(), better, crayon.CustomizeOptions{Time: 20 * time.Second}, nil)
	require.NoError(t, err)
	require.NotEmpty(t, chosen.Plan.Rated)
	better, err = c.Improve(t.Context(), chosen, crayon.CustomizeOptions{Strategy: "blend"}, nil)
	require.NoError(t, err)
	require.Empty(t, w.sent())

	// Set by hand, within what is here.
	_, is, err := c.SetWeights(t.Context(), "mine", []crayon.Weight{{Adapter: custom.Kept[0].Adapter, Weight: 0.9}})
	require.NoError(t, err)
	require.NotNil(t, is.Remote)
	for _, m := range p.Blended() {
		if custom.Remote.Members[m] == 0 {
			_, _, err = c.SetWeights(t.Context(), "mine", []crayon.Weight{{Adapter: p.Members[m].Name, Weight: 0.5}})
			require.ErrorContains(t, err, "not in the blend")
		}
	}
	require.NoError(t, c.Undo("mine"))

	// Without the network: another process, run, export, list.
	off := device(t, model, p, home, true)
	loaded, err := off.Load("mine")
	require.NoError(t, err)
	q := crayon.Question{Text: "is the hat red?"}
	want, err := c.Session(better).Ask(t.Context(), q, crayon.Silent)
	require.NoError(t, err)
	got, err := off.Session(loaded).Ask(t.Context(), q, crayon.Silent)
	require.NoError(t, err)
	require.Equal(t, want.Text, got.Text)
	require.Equal(t, want.Label, got.Label)
	dir := t.TempDir()
	e, err := off.Export(t.Context(), loaded, off.Pool(), crayon.FormatGGUF, dir)
	require.NoError(t, err)
	require.Equal(t, 6, e.Rank, "two kept and the shared, of rank 2 each")
	require.Less(t, e.Residual, 1e-6)
	exported, err := adapter.ReadGGUF(e.Files[0], p.Base.Shape)
	require.NoError(t, err)
	stack, weights := p.Stack.Keep(loaded.Remote.Members)
	require.Less(t, adapter.Residual(stack.Merge(weights, "exact"), exported), 1e-3, "half precision is all that is lost")

	// Anew, the network being needed: refused before anything leaves.
	_, err = off.CustomizeFrom(t.Context(), url, "other", set, crayon.CustomizeOptions{})
	require.ErrorIs(t, err, upstream.ErrLocalOnly)
	require.Equal(t, fault.ExitRefused, fault.Code(err))
	// The same weights again: the head is asked about, the blend is here.
	_, err = c.CustomizeFrom(t.Context(), url, "second", set, crayon.CustomizeOptions{})
	require.NoError(t, err)
	sent := w.sent()
	require.Contains(t, sent, "If-None-Match")
	require.NotContains(t, sent, "POST")
	// With another example, the rest by the same server.
	more := exampleSet(t, "question,answer\nwho wears the hat?,hat\n")
	_, is, err = c.Amend(t.Context(), "second", more)
	require.NoError(t, err)
	require.Len(t, is.Examples, 7)
	require.Equal(t, custom.Remote.URL, is.Remote.URL)

	// Files that are damaged or gone are told.
	beside := filepath.Join(home, "customisations", ".private", loaded.Remote.File)
	data, err := os.ReadFile(beside)
	require.NoError(t, err)
	data[len(data)-1] ^= 1
	require.NoError(t, os.WriteFile(beside, data, 0o600))
	loaded, err = off.Load("mine")
	require.NoError(t, err)
	require.ErrorContains(t, off.Fits(t.Context(), loaded), "damaged")
	require.NoError(t, os.Remove(beside))
	require.ErrorContains(t, off.Fits(t.Context(), loaded), "gone")
}

var numbersInBody = regexp.MustCompile(`[01]\.[0-9]{3}`)

// No byte of what is sent but the numbers depends on the examples.
func TestNothingButWeightsLeaves(t *testing.T) {
	model, p := remoteWorld(t)
	url, w := served(t, p, nil)
	c := device(t, model, p, t.TempDir(), false)
	ask := func(name, csv string) string {
		t.Helper()
		custom, err := c.CustomizeFrom(t.Context(), url, name, exampleSet(t, csv), crayon.CustomizeOptions{})
		require.NoError(t, err)
		require.NoError(t, c.Remove(custom.Name)) // so that nothing of it is known to the next
		return w.sent()
	}
	// Equal questions in another order with other answers, contexts and names.
	one := ask("alpha", "question,answer\nwhere is the red hat?,Jane Miller\nhow many hens are there?,4111 1111 1111 1111\n")
	two := ask("a-much-longer-name", "question,answer,context\nhow many hens are there?,none,a secret context\nwhere is the red hat?,on the hen,another\n")
	require.Equal(t, one, two, "equal weights give equal bytes")

	rng := rand.New(rand.NewPCG(1, 2))
	words := strings.Fields("hat hen bus town red late again which where coop goes sings 12345678 jane@example.org Zürich 東京")
	shape := numbersInBody.ReplaceAllString(one, "#")
	seen := map[string]bool{}
	for i := range 25 {
		csv := "question,answer\n"
		for range 1 + rng.IntN(9) {
			var q []string
			for range 1 + rng.IntN(12) {
				q = append(q, words[rng.IntN(len(words))])
			}
			csv += strings.Join(q, " ") + "," + words[rng.IntN(len(words))] + "\n"
		}
		sent := ask("n"+strconv.Itoa(i), csv)
		require.Len(t, sent, len(one))
		require.Equal(t, shape, numbersInBody.ReplaceAllString(sent, "#"))
		seen[sent] = true
	}
	require.Greater(t, len(seen), 5, "the numbers do follow the examples")
}

// A server that gives something else than was asked for is found out.
func TestPoolServerThatLies(t *testing.T) {
	model, p := remoteWorld(t)
	set := exampleSet(t, templateCSV)
	instead := func(path string, data func() []byte) func(http.Handler) http.Handler {
		return func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if !strings.HasSuffix(r.URL.Path, path) {
					next.ServeHTTP(w, r)
					return
				}
				d := data()
				w.Header().Set("Content-Type", upstream.PoolMedia)
				w.Header().Set(upstream.PoolDigest, fmt.Sprintf("%x", sha256.Sum256(d)))
				w.Write(d)
			})
		}
	}
	another := func(change func(*adapter.Adapter, *arch.Config)) func() []byte {
		return func() []byte {
			stack, weights := p.Stack.Keep([]float32{.5, .5, 0, 1})
			a, shape := stack.Merge(weights, "x"), p.Base.Shape
			change(a, &shape)
			data, err := adapter.BytesGGUF(a, shape, gguf.F16)
			require.NoError(t, err)
			return data
		}
	}
	for name, c := range map[string]struct {
		change func(http.Handler) http.Handler
		want   string
	}{
		"a blend of fewer": {instead("/blend", func() []byte {
			data, err := poolserve.Blend(p, []float32{1, 0, 0, 1})
			require.NoError(t, err)
			return data
		}), "has the rank 4"},
		"of another width": {instead("/blend", another(func(a *adapter.Adapter, shape *arch.Config) {
			shape.FF = 32
			for slot, pair := range a.Pairs {
				out, in := shape.Shape(slot.Kind())
				pair.A, pair.B, pair.In, pair.Out = pair.A[:pair.Rank*in], pair.B[:out*pair.Rank], in, out
			}
		})), "the model's is"},
		"of another family": {instead("/blend", another(func(_ *adapter.Adapter, shape *arch.Config) { shape.Family = "qwen2" })), "architecture"},
		"no adapter":        {instead("/blend", func() []byte { return []byte("GGUF and then nonsense") }), ""},
		"the pool as head":  {instead("/head", func() []byte { data, err := os.ReadFile(p.Path()); require.NoError(t, err); return data }), "not the head of a pool"},
		"another pool's head": {instead("/head", func() []byte {
			less, err := p.Retire("red", time.Unix(0, 0))
			require.NoError(t, err)
			data, err := less.Head()
			require.NoError(t, err)
			return data
		}), "this server has the pool"},
		"a head for another model": {instead("/head", func() []byte {
			data, err := p.Head()
			require.NoError(t, err)
			return bytes.Replace(data, []byte(p.Base.Lineage), []byte(strings.Repeat("0", 64)), 1)
		}), "not for this model"},
	} {
		t.Run(name, func(t *testing.T) {
			url, _ := served(t, p, c.change)
			dev := device(t, model, p, t.TempDir(), false)
			_, err := dev.CustomizeFrom(t.Context(), url, "mine", set, crayon.CustomizeOptions{})
			require.ErrorContains(t, err, c.want)
			require.NotEmpty(t, fault.Hint(err))
			require.False(t, dev.Has("mine"))
		})
	}
}
