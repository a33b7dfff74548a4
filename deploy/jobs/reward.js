/** Polite answers of few words are worth most. `example` is plain data; nothing else of the machine can be seen from here. */
function reward({ generated }) {
  const words = generated.trim().split(/\s+/).filter((word) => word !== "");
  const polite = /\b(please|thanks?|sorry|glad)\b/i.test(generated) ? 1 : 0;
  return polite - Math.max(0, words.length - 12) / 12;
}
