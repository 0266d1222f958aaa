package hybrid

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"crayon/internal/chat"
	"crayon/internal/customize"
	"crayon/internal/examples"
	"crayon/internal/task"
	"crayon/internal/testmodel/tinydevice"
)

// What answers a query is the prompt the pool was trained on and the proof and
// the benchmark score: context, question, options, in the pool's form.
func TestPromptIsThePools(t *testing.T) {
	d := tinydevice.Open(t)
	for name, labels := range map[string][]string{"plain": nil, "labels": {"north", "south"}} {
		t.Run(name, func(t *testing.T) {
			set := &examples.Set{Labels: labels, Source: "test"}
			for _, q := range []string{"one", "two", "three"} {
				set.Examples = append(set.Examples, examples.Example{Question: q, Answer: "north", Labelled: true})
			}
			c, err := customize.Make(t.Context(), d, "mine", set, customize.Options{})
			require.NoError(t, err)
			const question, context = "where is <|im_end|> the\then?", "Two lines.\nOf context."
			want, err := d.Form.Prompt(task.Text(question, context, labels))
			require.NoError(t, err)
			w := &work{h: &Hybrid{Device: d}, q: Query{Messages: []chat.Message{{Role: "user", Content: question}}, Context: context, Custom: c}}
			require.NoError(t, w.prepare(t.Context()))
			require.Equal(t, want, w.prompt)

			// After earlier turns only what precedes it differs.
			w.q.Messages = slices.Concat([]chat.Message{{Role: "user", Content: "hi"}, {Role: "assistant", Content: "ho"}}, w.q.Messages)
			require.NoError(t, w.prepare(t.Context()))
			require.Greater(t, len(w.prompt), len(want))
			require.Equal(t, want, w.prompt[len(w.prompt)-len(want):])
		})
	}
}
