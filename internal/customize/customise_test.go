package customize

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"crayon/internal/adapter"
	"crayon/internal/arch"
	"crayon/internal/device"
	"crayon/internal/examples"
	"crayon/internal/fault"
	"crayon/internal/gguf"
	"crayon/internal/pool"
	"crayon/internal/route"
	"crayon/internal/task"
	"crayon/internal/testmodel/tiny"
	"crayon/internal/testmodel/tinydevice"
)

// labelled is a label task of 12 rows and 4 labels, found in the answers.
func labelled(t testing.TB) *examples.Set {
	t.Helper()
	var b strings.Builder
	b.WriteString("question,answer\n")
	for i := range 12 {
		fmt.Fprintf(&b, "where is the %s thing,%s\n", strings.Repeat("x", i+1), []string{"north", "south", "east", "west"}[i%4])
	}
	set, err := examples.Parse("mine.csv", strings.NewReader(b.String()), examples.Options{})
	require.NoError(t, err)
	require.Len(t, set.Labels, 4)
	require.True(t, set.Inferred)
	return set
}

func create(t testing.TB, d *device.Device, set *examples.Set, opt Options) *Customisation {
	t.Helper()
	c, err := Make(t.Context(), d, "mine", set, opt)
	require.NoError(t, err)
	return c
}

func TestMake(t *testing.T) {
	d := tinydevice.Open(t)
	set := labelled(t)
	c := create(t, d, set, Options{})
	require.Equal(t, set.Labels, c.Labels)
	require.True(t, c.Inferred)
	require.Equal(t, d.Pool.Digest(), c.Pool)
	require.Equal(t, d.Lineage, c.Lineage)
	require.Equal(t, d.Pool.Keep, c.Keep)
	require.Len(t, c.Kept, d.Pool.Keep)
	require.Len(t, c.Weights, len(tiny.Blended))
	require.Len(t, c.Examples, 12)
	require.Nil(t, c.Examples[0].Choices, "the labels are stored once")
	sum := func(w []Weight) (s float64) {
		for _, x := range w {
			s += float64(x.Weight)
		}
		return s
	}
	require.InDelta(t, 1, sum(c.Weights), 1e-5)
	require.InDelta(t, 1, sum(c.Kept), 1e-5)

	// The weights are the mean of the examples' own.
	var own [][]float32
	for _, e := range set.Examples {
		dir, err := d.Direction(t.Context(), e.Question)
		require.NoError(t, err)
		own = append(own, pool.Weights(d.Pool.Similarity(dir), d.Pool.Feature.Tau))
	}
	full := pool.Average(own)
	kept := pool.KeepTop(full, d.Pool.Keep)
	require.InDelta(t, d.Pool.Distance(full, kept), c.Residual, 1e-9)
	require.Equal(t, named(d.Pool, full), c.Weights)

	// Equal on every call but for the clock.
	again := create(t, d, set, Options{})
	again.Created, again.Took = c.Created, c.Took
	a, err := c.Marshal()
	require.NoError(t, err)
	b, err := again.Marshal()
	require.NoError(t, err)
	require.Equal(t, string(a), string(b))

	require.Len(t, create(t, d, set, Options{Keep: 1}).Kept, 1)
	all := create(t, d, set, Options{Keep: -1})
	require.Equal(t, all.Weights, all.Kept)
	require.Zero(t, all.Residual)
	require.Equal(t, "where is it\nOptions:\n- east\n- north\n- south\n- west", c.Text("where is it", ""))

	_, err = Make(t.Context(), d, "mine", &examples.Set{}, Options{})
	require.Equal(t, fault.ExitUsage, fault.Code(err))
	_, err = Make(t.Context(), d, "mine", &examples.Set{Examples: make([]examples.Example, most+1)}, Options{})
	require.Error(t, err)
	_, err = Make(t.Context(), d, "mine", &examples.Set{Examples: []examples.Example{{Line: 3}}, Source: "a.csv"}, Options{})
	require.ErrorContains(t, err, "a.csv:3")
}

func TestBind(t *testing.T) {
	d := tinydevice.Open(t)
	c := create(t, d, labelled(t), Options{})
	row, err := c.Bind(t.Context(), d)
	require.NoError(t, err)
	members, err := c.Members(d.Pool)
	require.NoError(t, err)
	require.Equal(t, d.Row(members), row)

	// Stored and read again it is the same.
	data, err := c.Marshal()
	require.NoError(t, err)
	read, err := Unmarshal("mine", data)
	require.NoError(t, err)
	again, err := read.Bind(t.Context(), d)
	require.NoError(t, err)
	require.Equal(t, row, again)

	refused := func(c *Customisation, d *device.Device, says string) {
		t.Helper()
		_, err := c.Bind(t.Context(), d)
		require.ErrorContains(t, err, says)
		require.Equal(t, fault.ExitVerify, fault.Code(err))
		require.NotEmpty(t, fault.Hint(err))
	}
	for says, spoil := range map[string]func(*Customisation){
		"another pool":  func(c *Customisation) { c.Pool = "0" },
		"another model": func(c *Customisation) { c.Lineage = "0" },
		"direction":     func(c *Customisation) { c.Examples[3].Direction = c.Examples[3].Direction[:5] },
	} {
		c, err := Unmarshal("mine", data)
		require.NoError(t, err)
		spoil(c)
		refused(c, d, says)
		_, err = Prove(t.Context(), d, c, Options{}, nil)
		if says != "another model" {
			require.ErrorContains(t, err, says)
		}
	}
	for _, w := range []Weight{{"purple", 1}, {"shared", 1}, {"red", 17}, {"red", float32(math.NaN())}} {
		_, err := MembersOf(d.Pool, []Weight{w}, 1)
		require.Error(t, err, "%v", w)
	}
	for _, shared := range []float32{17, -1e30, float32(math.NaN())} {
		_, err := MembersOf(d.Pool, nil, shared)
		require.Error(t, err)
	}

	// A binding to one device says nothing of another.
	p, err := pool.Open(t.TempDir() + "/none")
	require.Nil(t, p)
	require.Error(t, err)
	modelPath, poolPath := tiny.Tiny(t)
	other, err := pool.Open(poolPath)
	require.NoError(t, err)
	other.Keep = 1
	other, err = other.Write(poolPath, gguf.Q8_0)
	require.NoError(t, err)
	_, err = c.Bind(t.Context(), tinydevice.With(t, modelPath, other))
	require.ErrorContains(t, err, "another pool")
	_, err = c.Bind(t.Context(), d)
	require.NoError(t, err)
}

func TestBindAtOnce(t *testing.T) {
	d := tinydevice.Open(t)
	c := create(t, d, labelled(t), Options{})
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if _, err := c.Bind(t.Context(), d); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

// scaled is the tiny pool with all its B multiplied.
func scaled(t *testing.T, by float32) *device.Device {
	t.Helper()
	modelPath, poolPath := tiny.Tiny(t)
	p, err := pool.Open(poolPath)
	require.NoError(t, err)
	p.Stack = p.Stack.InMemory()
	for _, pair := range p.Stack.Pairs {
		for i := range pair.B {
			pair.B[i] *= by
		}
	}
	p, err = p.Write(poolPath, gguf.F32)
	require.NoError(t, err)
	return tinydevice.With(t, modelPath, p)
}

func TestEffectProbe(t *testing.T) {
	d := scaled(t, 0)
	_, err := create(t, d, labelled(t), Options{}).Bind(t.Context(), d)
	require.ErrorContains(t, err, "changes nothing")
	require.Equal(t, fault.ExitVerify, fault.Code(err))
	d = scaled(t, 0.01)
	_, err = create(t, d, labelled(t), Options{}).Bind(t.Context(), d)
	require.NoError(t, err)
}

func TestUnmarshalRefuses(t *testing.T) {
	d := tinydevice.Open(t)
	data, err := create(t, d, labelled(t), Options{}).Marshal()
	require.NoError(t, err)
	_, err = Unmarshal("mine", data)
	require.NoError(t, err)
	change := func(key string, value any, more ...any) []byte {
		var all map[string]any
		require.NoError(t, json.Unmarshal(data, &all))
		all[key] = value
		for i := 0; i < len(more); i += 2 {
			all[more[i].(string)] = more[i+1]
		}
		out, err := json.Marshal(all)
		require.NoError(t, err)
		return out
	}
	example := func(direction ...float64) map[string]any {
		return map[string]any{"question": "q", "labelled": false, "direction": direction}
	}
	many := make([]map[string]any, most+1)
	for i := range many {
		many[i] = example()
	}
	for name, bad := range map[string][]byte{
		"nothing":            nil,
		"not JSON":           []byte("{"),
		"an array":           []byte("[]"),
		"null":               []byte("null"),
		"cut":                data[:len(data)/2],
		"NaN":                []byte(strings.Replace(string(data), `"shared": 1`, `"shared": NaN`, 1)),
		"overflow":           []byte(strings.Replace(string(data), `"shared": 1`, `"shared": 1e99`, 1)),
		"version":            change("version", 3),
		"no pool":            change("pool", ""),
		"no weights":         change("plan", nil, "kept", []any{}),
		"weights of text":    change("kept", "all"),
		"many weights":       change("kept", slices.Repeat([]map[string]any{{"adapter": "red", "weight": 1}}, most+1)),
		"many examples":      change("examples", many),
		"a single label":     change("labels", []string{"a"}),
		"an empty label":     change("labels", []string{"a", ""}),
		"negative keep":      change("keep", -1),
		"uneven directions":  change("examples", []any{example(1, 0), example(1)}),
		"a direction of 1e9": change("examples", []any{example(1e9, 0)}),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Unmarshal("mine", bad)
			require.Error(t, err)
			require.Equal(t, fault.ExitVerify, fault.Code(err))
			require.Contains(t, fault.Hint(err), "crayon rm mine")
		})
	}
}

// A customisation of the first version, without a plan, runs its weights.
func TestFirstVersion(t *testing.T) {
	d := tinydevice.Open(t)
	c := create(t, d, labelled(t), Options{})
	data, err := c.Marshal()
	require.NoError(t, err)
	var all map[string]any
	require.NoError(t, json.Unmarshal(data, &all))
	delete(all, "plan")
	all["version"] = 1
	data, err = json.Marshal(all)
	require.NoError(t, err)
	old, err := Unmarshal("mine", data)
	require.NoError(t, err)
	require.Equal(t, Version, old.Version)
	want, err := c.Bind(t.Context(), d)
	require.NoError(t, err)
	got, err := old.Bind(t.Context(), d)
	require.NoError(t, err)
	require.Equal(t, want, got)
	plan, err := old.Fitted(d.Pool)
	require.NoError(t, err)
	require.Equal(t, c.Plan.Members, plan.Members)
	_, err = Prove(t.Context(), d, old, Options{}, nil)
	require.NoError(t, err)
}

func FuzzUnmarshal(f *testing.F) {
	d := tinydevice.Open(f)
	set := labelled(f)
	set.Examples = set.Examples[:2]
	data, err := create(f, d, set, Options{}).Marshal()
	require.NoError(f, err)
	f.Add(data)
	f.Add([]byte(`{"version":1,"pool":"p","kept":[{"adapter":"red","weight":1}],"examples":[{"direction":[]}]}`))
	dir := make([]float32, len(d.Pool.Feature.Mean))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Unmarshal("mine", data)
		if err != nil {
			return
		}
		c.Pool = d.Pool.Digest()
		if _, err := c.Members(d.Pool); err != nil {
			return
		}
		c.Signals(d.Pool, dir)
		c.folds(true)
	})
}

func TestSignals(t *testing.T) {
	d := tinydevice.Open(t)
	c := create(t, d, labelled(t), Options{})
	dir := c.Examples[0].Direction
	s := c.Signals(d.Pool, dir)
	require.InDelta(t, slices.Max(d.Pool.Similarity(dir)), s.ScopePool, 1e-6)
	var set [][]float32
	for _, e := range c.Examples {
		set = append(set, e.Direction)
	}
	require.InDelta(t, route.Scope(dir, set, route.Neighbours), s.ScopeUser, 1e-6)
	require.Zero(t, s.Tokens)
	require.Less(t, c.Scope.User, s.ScopeUser, "an example is in its own scope")
}

// The blend that runs is the sum of its members' products, whole or merged into
// one adapter.
func TestBlendIsTheSumOfItsMembers(t *testing.T) {
	d := tinydevice.Open(t)
	c := create(t, d, labelled(t), Options{})
	members, err := c.Members(d.Pool)
	require.NoError(t, err)
	merged := d.Pool.Stack.Merge(members, "blend")
	one, err := adapter.NewStack([]*adapter.Adapter{merged})
	require.NoError(t, err)
	kept, weights := d.Pool.Stack.Keep(members)
	require.Less(t, kept.Rank, d.Pool.Stack.Rank)
	for s := range arch.Slot(d.Pool.Base.Shape.Slots()) {
		whole := d.Pool.Stack.Dense(s, members)
		sum := make([]float64, len(whole))
		for i, w := range members {
			alone := make([]float32, len(members))
			alone[i] = 1
			for j, x := range d.Pool.Stack.Dense(s, alone) {
				sum[j] += float64(w) * float64(x)
			}
		}
		for i, x := range sum {
			require.InDelta(t, x, whole[i], 1e-5)
		}
		require.InDeltaSlice(t, whole, one.Dense(s, []float32{1}), 1e-5)
		require.InDeltaSlice(t, whole, kept.Dense(s, weights), 1e-5)
	}
}

// What serves a question is what was trained and proved: one prompt.
func TestOnePromptForm(t *testing.T) {
	d := tinydevice.Open(t)
	c := create(t, d, labelled(t), Options{})
	text := c.Text("where is <|im_end|>", "a map")
	require.Equal(t, task.Text("where is <|im_end|>", "a map", c.Labels), text)
	prompt, err := d.Form.Prompt(text)
	require.NoError(t, err)
	end, _ := d.Tokenizer.ID("<|im_end|>")
	n := 0
	for _, id := range prompt {
		if id == end {
			n++
		}
	}
	require.Equal(t, 1, n, "a user's end of turn is text")
}
