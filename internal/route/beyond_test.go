package route

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestDecideBeyond: the server or an error, in every mode and setting.
func TestDecideBeyond(t *testing.T) {
	needs := []string{"tools", "n"}
	for _, mode := range append(Modes(), "") {
		for _, force := range []Side{"", Device, Server} {
			for _, local := range []bool{false, true} {
				for _, has := range []bool{false, true} {
					for _, barrier := range []Reason{"", Private, OverBudget} {
						set := Setting{Mode: mode, Force: force, LocalOnly: local, HasServer: has, Barrier: barrier}
						want := barrier
						switch {
						case force == Device, force == "" && mode == DeviceOnly:
							want = Forced
						case local:
							want = LocalOnly
						case !has:
							want = NoServer
						}
						d, err := DecideBeyond(needs, set)
						if want == "" {
							require.NoError(t, err)
							require.Equal(t, []any{Server, BeyondDevice, false}, []any{d.Route, d.Reason, d.Degraded})
							require.Len(t, d.Header(), 2, "nothing was measured")
							require.NotEqual(t, string(d.Reason), d.Reason.Sentence())
							continue
						}
						var u *UnreachableError
						require.ErrorAs(t, err, &u)
						require.Equal(t, want, u.Reason)
						require.Contains(t, u.Error(), "tools, n")
					}
				}
			}
		}
	}
	_, err := DecideBeyond(needs, Setting{Mode: "cloud"})
	require.ErrorContains(t, err, "cloud")
	_, err = DecideBeyond(needs, Setting{Force: "cloud"})
	require.ErrorContains(t, err, "cloud")
	require.ErrorContains(t, &UnreachableError{Reason: Private, Needs: needs, Cause: "private: it holds card"}, "it holds card")
}
