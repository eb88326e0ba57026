"""Hypernetworks that make the rows of new tokens from the base tokens that spell them (ZeTT, arXiv 2405.07883).

config, network, residual    what they compute: the published architecture, and a small one that refines a start
files, flax_files            checkpoints of both layouts, checked before they are believed
surfaces, predict            a vocabulary as spellings, and its rows in blocks
pairs, sampling, streams     what they learn from: merges of the base, and text under tokenizers that are drawn
stages, training, train      what is minimised, the loop, and how a stopped run goes on
"""
