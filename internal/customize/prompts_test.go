package customize

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"crayon/internal/device"
	"crayon/internal/examples"
	"crayon/internal/strategy"
	"crayon/internal/strategy/deviceengine"
	"crayon/internal/testmodel/tinydevice"
)

// counter counts the prompts that it is asked, in tokens.
type counter struct {
	strategy.Engine
	d            *device.Device
	asks, tokens int
}

func (c *counter) Score(ctx context.Context, asks []strategy.Ask) ([][]strategy.Score, error) {
	for _, a := range asks {
		ids, err := c.d.Form.Shots(a.Shots, a.Text)
		if err != nil {
			return nil, err
		}
		limit := 384
		if len(a.Shots) > 0 {
			limit = 1536
		}
		c.asks++
		c.tokens += min(len(ids), limit)
	}
	return c.Engine.Score(ctx, asks)
}

// The count is what the engine is asked where the examples' questions are
// asked, one at a time.
func TestPromptsAreWhatIsAsked(t *testing.T) {
	d := tinydevice.Open(t)
	set := labelled(t)
	count := func(c *Customisation, plan *strategy.Plan) (asks, tokens float64) {
		e := &counter{Engine: deviceengine.New(d), d: d}
		task := c.Task()
		for _, q := range task.Rows {
			q.Gold = -1
			_, err := plan.Scores(t.Context(), e, task, []strategy.Row{q})
			require.NoError(t, err)
		}
		n := float64(len(task.Rows))
		return float64(e.asks) / n, float64(e.tokens) / n
	}
	for name, asks := range map[string]float64{"base": 1, "blend": 1, "blend_query": 1, "shots5": 1, "blend_shots": 1, "mix": 3, "stack": 0, "stack_shots": 0} {
		t.Run(name, func(t *testing.T) {
			c := create(t, d, set, Options{})
			c, err := Improve(t.Context(), d, c, Options{Strategy: name}, nil)
			require.NoError(t, err)
			p, err := c.CountPrompts(d.Pool, &d.Form)
			require.NoError(t, err)
			a, n := count(c, c.Plan)
			require.InDelta(t, a, p.Asks, 0.005)
			require.InDelta(t, n, p.Tokens, 0.005)
			if asks > 0 {
				require.Equal(t, asks, p.Asks)
			} else {
				require.Greater(t, p.Asks, 1.0, "a stack asks under several weights")
			}
			require.Equal(t, 12, p.Questions)
			require.Len(t, p.InPrompt, 2)
			for i, k := range []int{5, 12} {
				x := p.InPrompt[i]
				require.Equal(t, k, x.Examples)
				require.Equal(t, k == 12, x.All)
				_, n := count(c, &strategy.Plan{Shots: k})
				require.InDelta(t, n, x.Tokens, 0.005)
			}
			require.Greater(t, p.InPrompt[1].Tokens, p.InPrompt[0].Tokens)
			switch name {
			case "base", "blend", "blend_query":
				require.Less(t, p.Tokens, p.InPrompt[0].Tokens)
			case "shots5":
				require.Equal(t, p.InPrompt[0].Tokens, p.Tokens)
			}
		})
	}
}

// Without answers nothing can be put into a prompt; with few of them all are;
// of many questions some are counted.
func TestPromptsOfOtherExamples(t *testing.T) {
	d := tinydevice.Open(t)
	rows := func(n, answered int) *Prompts {
		set := &examples.Set{Source: "test"}
		for i := range n {
			set.Examples = append(set.Examples, examples.Example{Question: fmt.Sprint("question ", i), Answer: fmt.Sprint(i), Labelled: i < answered})
		}
		p, err := create(t, d, set, Options{}).CountPrompts(d.Pool, &d.Form)
		require.NoError(t, err)
		return p
	}
	in := func(p *Prompts) (out []string) {
		for _, x := range p.InPrompt {
			out = append(out, fmt.Sprint(x.Examples, x.All))
		}
		return out
	}
	require.Empty(t, rows(3, 0).InPrompt)
	require.Equal(t, []string{"1 true"}, in(rows(3, 1)))
	require.Equal(t, []string{"5 true"}, in(rows(7, 5)))
	require.Equal(t, []string{"5 false", "6 true"}, in(rows(7, 6)))
	many := rows(40, 40)
	require.Equal(t, []string{"5 false", "16 false"}, in(many))
	require.Equal(t, 32, many.Questions)
	require.Equal(t, 1.0, many.Asks)
}
