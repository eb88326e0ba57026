"""A little training after a transplant: new rows, then the body, aimed at what the new tokenizer changed.

chunks, losses     the mathematics: pieces of text that both tokenizations share, and what is minimised over them
snippets           the text: cut by bytes, a part held out, an order that begins where new tokens are
adapters, pair     the model: what is trained beside it, teacher and student in one body
training, state    the loop, and how a stopped run goes on
writing, measure   the healed folder, and bits per byte before and after
"""
