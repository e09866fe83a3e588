package bench

import "testing"

// TestCircle checks that each user has as many friends as were asked for.
func TestCircle(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ n, friends, want int }{
		{10, 3, 3}, {10, 4, 4}, {10, 9, 9}, {10, 20, 9}, {9, 8, 8}, {9, 4, 4}, {2, 1, 1}, {1, 5, 0}, {6, 0, 0}, {6, 5, 5}, {9, 3, 3},
	} {
		friends := make(map[int]map[int]bool)
		for i := range c.n {
			friends[i] = make(map[int]bool)
		}
		for i, j := range circle(c.n, c.friends) {
			if i == j || friends[i][j] {
				t.Errorf("%+v: a friendship of %d and %d, again or with itself", c, i, j)
			}
			friends[i][j], friends[j][i] = true, true
		}
		fewer := 0
		for i := range c.n {
			switch len(friends[i]) {
			case c.want:
			case c.want - 1:
				fewer++
			default:
				t.Errorf("%+v: user %d has %d friends", c, i, len(friends[i]))
			}
		}
		if fewer != c.n%2*(c.want%2) {
			t.Errorf("%+v: %d users have one friend less", c, fewer)
		}
	}
}
