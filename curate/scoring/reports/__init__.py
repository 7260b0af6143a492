"""What a scoring job tells its user: the result of a call, the state of a folder, and a forecast.

In: the folder of a job, or its inputs. Out: counts, tables and lines of text. Nothing is written.
May use: `scoring` and what it may use.
"""
