package tunnel

// Raced is raced, for the tests outside the package.
const Raced = raced
