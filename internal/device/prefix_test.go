package device

import (
	"context"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"crayon/internal/chat"
	"crayon/internal/model"
)

// check holds the store to what it promises of itself.
func (p *prefixes) check() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	bytes, blocks := 0, 0
	order := map[*block]int{}
	for i, e := 0, p.used.Front(); e != nil; i, e = i+1, e.Next() {
		order[e.Value.(*block)] = i
	}
	bad := ""
	var walk func(b *block)
	walk = func(b *block) {
		for w, next := range b.next {
			bytes, blocks = bytes+next.cache.Bytes(), blocks+1
			at, ok := order[next]
			switch {
			case next.words != w || next.prev != b || !ok:
				bad = "a block is not where it belongs"
			case b.prev != nil && order[b] > at:
				bad = "a block would go before what follows it"
			}
			walk(next)
		}
	}
	for row, root := range p.roots {
		if root.row != row || len(root.next) == 0 {
			bad = "an empty row is kept"
		}
		walk(root)
	}
	switch {
	case bytes != p.stats.Bytes || blocks != p.used.Len():
		bad = "the count is wrong"
	case bytes > p.budget:
		bad = "it is over its budget"
	}
	return bad
}

// Answers are the same with and without a prefix cache, and what it knows is
// not computed again.
func TestAKnownPrefixChangesNothing(t *testing.T) {
	plain := open(t)
	room := plain.Model.NewCache(model.Block).Bytes()
	rows := [][]float32{nil, plain.Row([]float32{0.5, 0.25, 0.25, 1}), plain.Row([]float32{0.5, 0.25, 0.25, 1})}
	rows[2][0] = math.Nextafter32(rows[2][0], 2)
	vocab := int32(plain.Model.Config.Vocab)
	const few, many = 6, 100
	devices := map[int]*Device{few: openWith(t, Options{Threads: 2, PrefixCache: few * room}), many: openWith(t, Options{Threads: 1, PrefixCache: many * room})}
	rapid.Check(t, func(t *rapid.T) {
		budget := rapid.SampledFrom([]int{few, many}).Draw(t, "budget")
		d := devices[budget]
		known := [][]int32{{1}}
		var last, hits int
		for range rapid.IntRange(1, 8).Draw(t, "requests") {
			// Some of what was said, and something new.
			from := rapid.SampledFrom(known).Draw(t, "known")
			ids := slices.Clone(from[:rapid.IntRange(0, len(from)).Draw(t, "kept")])
			more, seed := rapid.IntRange(1, 150).Draw(t, "new"), rapid.Int32Range(0, 2).Draw(t, "text")
			for i := range int32(more) {
				ids = append(ids, (i*7+seed)%vocab)
			}
			req := Request{Prompt: ids, Row: rapid.SampledFrom(rows).Draw(t, "row"), MaxTokens: rapid.IntRange(1, 50).Draw(t, "max")}
			before := d.Model.Computed()
			got, err := d.Generate(context.Background(), req)
			if err != nil {
				t.Fatal(err)
			}
			computed := int(d.Model.Computed() - before)
			want, err := plain.Generate(context.Background(), req)
			if err != nil {
				t.Fatal(err)
			}
			if got.Text != want.Text || !slices.Equal(got.LogProbs, want.LogProbs) {
				t.Fatalf("%q %v; without the cache %q %v", got.Text, got.LogProbs, want.Text, want.LogProbs)
			}
			if got.CachedTokens%model.Block != 0 || got.CachedTokens >= len(ids) || computed != len(ids)-got.CachedTokens+got.Tokens-1 {
				t.Fatalf("%d tokens, %d known, %d answered: %d computed", len(ids), got.CachedTokens, got.Tokens, computed)
			}
			q := Question{Prompt: ids, Choices: []string{"yes", "another"}, Row: req.Row}
			choice, err := d.Choose(context.Background(), q)
			if err != nil {
				t.Fatal(err)
			}
			bare, err := plain.Choose(context.Background(), q)
			if err != nil || !slices.Equal(choice.Scores, bare.Scores) {
				t.Fatalf("%v, %v; without the cache %v", choice.Scores, err, bare.Scores)
			}
			if least := min(few*model.Block, (len(ids)-1)/model.Block*model.Block); choice.Cached < least {
				t.Fatalf("%d of %d tokens known, just after they were computed", choice.Cached, len(ids))
			}
			known = append(known, ids)
			last, hits = len(ids), hits+got.CachedTokens
			if bad := d.prefixes.check(); bad != "" {
				t.Fatal(bad)
			}
		}
		if last == 0 || d.Stats().Prefix.Tokens < int64(hits) {
			t.Fatalf("%d tokens saved, %+v", hits, d.Stats())
		}
		if rapid.Bool().Draw(t, "forget") {
			for _, row := range rows {
				d.Forget(row)
			}
			if s := d.Stats().Prefix; s.Bytes != 0 || len(d.prefixes.roots) != 0 || d.prefixes.used.Len() != 0 {
				t.Fatalf("%+v is left of nothing", s)
			}
		}
	})
}

// Nothing is shared between rows that differ in one bit, and none of what was
// under a row is left when it is forgotten.
func TestRowsShareNothing(t *testing.T) {
	d := openWith(t, Options{Threads: 2, PrefixCache: 1 << 20})
	row := d.Row([]float32{0.5, 0.25, 0.25, 1})
	near := slices.Clone(row)
	near[len(near)-1] = math.Nextafter32(near[len(near)-1], 0)
	ids := prompt(t, d, "the hat is on the table, and the wheel is in the garden behind the house")
	require.Greater(t, len(ids), model.Block)
	ask := func(row []float32) int {
		r, err := d.Generate(t.Context(), Request{Prompt: ids, Row: row, MaxTokens: 2})
		require.NoError(t, err)
		return r.CachedTokens
	}
	known := (len(ids) - 1) / model.Block * model.Block
	for _, r := range [][]float32{row, near, nil} {
		require.Zero(t, ask(r))
		require.Equal(t, known, ask(r))
		require.Equal(t, known, ask(slices.Clone(r)), "the same content elsewhere")
	}
	require.Equal(t, PrefixStats{Hits: 6, Misses: 3, Tokens: int64(6 * known), Bytes: d.Stats().Prefix.Bytes}, d.Stats().Prefix)
	held := d.Stats().Prefix.Bytes
	d.Forget(near)
	require.Equal(t, held/3*2, d.Stats().Prefix.Bytes)
	require.Zero(t, ask(near))
	require.Equal(t, known, ask(row))
	require.Equal(t, known, ask(nil))
}

// The next turn of a conversation computes neither the turns before it nor their
// answers, but for what is left of a block.
func TestAConversationGoesOn(t *testing.T) {
	d := openWith(t, Options{Threads: 2, PrefixCache: 1 << 20})
	msgs := []chat.Message{{Role: "user", Content: "where is the hat, and who has put it there"}}
	total := 0
	for range 4 {
		ids, err := d.Form.Chat(msgs)
		require.NoError(t, err)
		r, err := d.Generate(t.Context(), Request{Prompt: ids, MaxTokens: 60, Sampling: model.Sampling{Temperature: 1, Seed: 3}})
		require.NoError(t, err)
		require.GreaterOrEqual(t, r.CachedTokens, (total-1)/model.Block*model.Block)
		total = len(ids)
		msgs = append(msgs, chat.Message{Role: "assistant", Content: r.Text}, chat.Message{Role: "user", Content: "and then"})
	}
	require.Greater(t, d.Stats().Prefix.Hits, int64(2))
	// The answer's own tokens are known as well as the prompt's.
	ids := prompt(t, d, "one")
	g, err := d.Start(Request{Prompt: ids, MaxTokens: 80})
	require.NoError(t, err)
	g.ends = nil
	for {
		p, more, err := g.Next(t.Context())
		require.NoError(t, err)
		if !more {
			break
		}
		ids = append(ids, p.Token)
	}
	r, err := d.Generate(t.Context(), Request{Prompt: ids, MaxTokens: 1})
	require.NoError(t, err)
	require.Equal(t, (len(ids)-1)/model.Block*model.Block, r.CachedTokens)
	// A budget below one block keeps nothing, and none is no cache.
	for _, budget := range []int{0, 1} {
		d := openWith(t, Options{Threads: 2, PrefixCache: budget})
		for range 2 {
			r, err := d.Generate(t.Context(), Request{Prompt: ids, MaxTokens: 1})
			require.NoError(t, err)
			require.Zero(t, r.CachedTokens)
			require.Zero(t, d.Stats().Prefix.Bytes)
		}
		d.Forget(nil)
	}
}
