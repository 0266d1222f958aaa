package model

import (
	"bufio"
	"encoding/json"
	"math"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"crayon/internal/kernel"
	"crayon/internal/testmodel"
)

// recorded is a float32 pass of PyTorch over the same weights.
type recorded struct {
	IDs      []int32      `json:"ids"`
	Top      [][2]float64 `json:"last_top"` // id, logit
	LogProbs []float64    `json:"token_logprobs"`
	Query    []float64    `json:"layer0_q_mean"`
	Hidden10 []float64    `json:"hidden10_mean"`
	Greedy   []int32      `json:"greedy24"`
}

// The fast path rounds activations to int8, and keys and values to half
// precision, so logits (of magnitude 20 to 30)
// are off by some tenths, log-probabilities of likely tokens by less, and a
// greedy answer may leave the recorded one where two tokens are as likely. The
// query feature is computed in float32.
func TestRealModelAgainstRecordedVectors(t *testing.T) {
	m, err := Open(testmodel.Path(t), Options{})
	require.NoError(t, err)
	defer m.Close()
	f, err := os.Open("../reference/testdata/smollm2.jsonl")
	require.NoError(t, err)
	defer f.Close()
	same, all := 0, 0
	var off float64
	n := 0
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var v recorded
		require.NoError(t, json.Unmarshal(lines.Bytes(), &v))
		cache := m.NewCache(len(v.IDs) + len(v.Greedy))
		var next int32
		err := m.Forward(t.Context(), nil, []Input{{Cache: cache, Tokens: v.IDs, Want: WantAll}}, func(_, i int, l []float32) error {
			if i+1 < len(v.IDs) {
				lp := float64(l[v.IDs[i+1]] - kernel.LogSumExp(l))
				off += math.Abs(lp - v.LogProbs[i])
				n++
				return nil
			}
			next = int32(kernel.MaxIndex(l))
			for _, top := range v.Top {
				require.InDelta(t, top[1], l[int(top[0])], 1, "logit of %v", top[0])
			}
			return nil
		})
		require.NoError(t, err)
		for _, want := range v.Greedy {
			all++
			if next != want {
				break
			}
			same++
			require.NoError(t, m.Forward(t.Context(), nil, []Input{{Cache: cache, Tokens: []int32{next}, Want: WantLast}}, func(_, _ int, l []float32) error {
				next = int32(kernel.MaxIndex(l))
				return nil
			}))
		}
		q, err := m.Feature(t.Context(), 0, v.IDs)
		require.NoError(t, err)
		h, err := m.Feature(t.Context(), 10, v.IDs)
		require.NoError(t, err)
		for i := range v.Query {
			require.InDelta(t, v.Query[i], q[i], 1e-3, "first query, value %d", i)
			require.InDelta(t, v.Hidden10[i], h[i], 0.25+0.05*math.Abs(v.Hidden10[i]), "hidden state 10, value %d", i)
		}
	}
	t.Logf("mean difference of %d log-probabilities %.4f nats; greedy %d of %d tokens up to the first difference", n, off/float64(n), same, all)
	require.Less(t, off/float64(n), 0.1)
	require.Greater(t, same, 60)
}
