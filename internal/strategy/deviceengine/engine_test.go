package deviceengine

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"crayon/internal/adapter"
	"crayon/internal/arch"
	"crayon/internal/device"
	"crayon/internal/strategy"
	"crayon/internal/task"
	"crayon/internal/testmodel/tiny"
	"crayon/internal/testmodel/tinydevice"
)

func private(seed uint64) *adapter.Adapter {
	rng := rand.New(rand.NewPCG(seed, 1))
	slot := arch.SlotOf(1, arch.Down)
	out, in := tiny.Config.Shape(slot.Kind())
	p := &adapter.Pair{Rank: 2, In: in, Out: out, A: make([]float32, 2*in), B: make([]float32, out*2)}
	for i := range p.A {
		p.A[i] = float32(rng.NormFloat64()) / 8
	}
	for i := range p.B {
		p.B[i] = float32(rng.NormFloat64())
	}
	return &adapter.Adapter{Name: "private", Scale: 1, Pairs: map[arch.Slot]*adapter.Pair{slot: p}}
}

// An ask is the device's own answer to its prompt, alone or among others of
// more private adapters than there are places for.
func TestScoresAreTheDevices(t *testing.T) {
	d := tinydevice.Open(t)
	e := New(d)
	require.Same(t, d.Pool, e.Pool())
	candidates := []string{"yes", "no", "a longer answer"}
	shots := []task.Shot{{Text: "a?", Answer: "yes"}, {Text: "b?", Answer: "no"}}
	members := []float32{.5, .5, 0, 1}
	asks := []strategy.Ask{
		{Text: "why", Candidates: candidates},
		{Text: "why", Candidates: candidates, Members: members},
		{Text: "why", Candidates: candidates, Members: members, Shots: shots},
		{Text: "", Candidates: candidates},
	}
	for i := range device.MostAttached + 2 {
		asks = append(asks, strategy.Ask{Text: "why", Candidates: candidates, Members: members, Private: private(uint64(i))})
	}
	got, err := e.Score(t.Context(), asks)
	require.NoError(t, err)
	for i, a := range asks {
		alone, err := e.Score(t.Context(), []strategy.Ask{a})
		require.NoError(t, err)
		require.Equal(t, alone[0], got[i])
		if a.Private != nil {
			require.NotEqual(t, got[1], got[i])
			continue
		}
		prompt, err := d.Form.Shots(a.Shots, a.Text)
		require.NoError(t, err)
		want, err := d.Score(t.Context(), []device.Question{{Prompt: prompt, Choices: candidates, Row: d.Row(a.Members)}})
		require.NoError(t, err)
		for j := range candidates {
			require.InDelta(t, want[0][j], got[i][j].Mean(), 1e-12)
			require.Len(t, d.Form.Answer(candidates[j]), got[i][j].Tokens)
		}
	}
	long := strings.Repeat("word ", 3000)
	q, err := e.Question(strategy.Ask{Text: long})
	require.NoError(t, err)
	require.Len(t, q.Prompt, task.MaxPrompt)
	q, err = e.Question(strategy.Ask{Text: long, Shots: shots})
	require.NoError(t, err)
	require.Len(t, q.Prompt, strategy.MaxShots)
}
