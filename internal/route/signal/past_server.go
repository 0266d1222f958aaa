package signal

var pastServer = Signal{Name: "past_server", Kind: History, Early: true,
	About: "share of the conversation's earlier answers that the server gave",
	of: func(s *seen) float64 {
		n := 0
		for _, server := range s.Past {
			if server {
				n++
			}
		}
		return share(n, len(s.Past))
	}}
